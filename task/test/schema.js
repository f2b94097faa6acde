'use strict';
// A validator of what tasks.schema.json uses of JSON Schema (draft 4). A keyword
// that it does not know is an error, so that nothing is passed over.

const TYPES = {
  object: (value) => value !== null && typeof value === 'object' && !Array.isArray(value),
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: (value) => typeof value === 'number',
};
const NOTES = new Set(['$schema', 'id', 'title', 'description', 'default', 'definitions']);

// problems lists where the value is not as the schema says.
function problems(schema, value, root = schema, at = '$') {
  if (schema.$ref) return problems(schema.$ref.replace('#/', '').split('/').reduce((part, name) => part[name], root), value, root, at);
  const found = [];
  for (const [keyword, rule] of Object.entries(schema)) {
    switch (keyword) {
      case 'type':
        if (![].concat(rule).some((type) => TYPES[type](value))) found.push(`${at} is no ${rule}`);
        break;
      case 'enum':
        if (!rule.includes(value)) found.push(`${at} is none of ${rule}`);
        break;
      case 'pattern':
        if (typeof value === 'string' && !new RegExp(rule).test(value)) found.push(`${at} does not match ${rule}`);
        break;
      case 'required':
        for (const name of rule) if (TYPES.object(value) && !(name in value)) found.push(`${at} has no ${name}`);
        break;
      case 'properties':
        for (const [name, part] of Object.entries(rule)) {
          if (TYPES.object(value) && name in value) found.push(...problems(part, value[name], root, `${at}.${name}`));
        }
        break;
      case 'additionalProperties':
        if (typeof rule !== 'boolean') throw new Error(`additionalProperties of a kind that is not known at ${at}`);
        if (!rule && TYPES.object(value)) for (const name of Object.keys(value)) if (!(name in (schema.properties ?? {}))) found.push(`${at} has an unknown ${name}`);
        break;
      case 'items':
        if (Array.isArray(value)) value.forEach((item, index) => found.push(...problems(rule, item, root, `${at}[${index}]`)));
        break;
      case 'anyOf':
        if (rule.every((part) => problems(part, value, root, at).length > 0)) found.push(`${at} is none of what it may be`);
        break;
      default:
        if (!NOTES.has(keyword)) throw new Error(`the keyword ${keyword} is not known at ${at}`);
    }
  }
  return found;
}

module.exports = { problems };
