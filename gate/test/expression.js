'use strict';
// An evaluator of the language in which a server task says when it has
// succeeded: the task-condition functions, root['…'], jsonpath('…') and
// count(…). It knows what the gate uses and throws on all else, as the server
// refuses what it cannot parse. Of JSONPath: member names, [*], and filters of
// comparisons joined by &&.

function evaluate(expression, root) {
  let at = 0;
  const space = () => { while (/\s/.test(expression[at] ?? '')) at++; };
  const bad = (what) => { throw new Error(`${what} at ${at} of ${expression}`); };
  const take = (text) => { space(); if (!expression.startsWith(text, at)) bad(`no ${text}`); at += text.length; };
  const peek = (text) => { space(); return expression.startsWith(text, at); };

  function string() {
    take("'");
    let text = '';
    for (;;) {
      if (at >= expression.length) bad('a string without an end');
      if (expression[at] === "'") {
        if (expression[at + 1] !== "'") break;
        at++;
      }
      text += expression[at++];
    }
    at++;
    return text;
  }

  function value() {
    space();
    if (expression[at] === "'") return string();
    const number = /^-?\d+(\.\d+)?/.exec(expression.slice(at));
    if (number) { at += number[0].length; return Number(number[0]); }
    const word = /^[A-Za-z]+/.exec(expression.slice(at))?.[0];
    if (!word) bad('no value');
    at += word.length;
    if (word.toLowerCase() === 'true' || word.toLowerCase() === 'false') return word.toLowerCase() === 'true';
    if (word.toLowerCase() === 'root') {
      take('[');
      const name = string();
      take(']');
      return root?.[name];
    }
    take('(');
    const given = [];
    if (!peek(')')) {
      do given.push(value()); while (peek(',') && (take(','), true));
    }
    take(')');
    return call(word.toLowerCase(), given);
  }

  function call(name, given) {
    const arity = { and: [2, 99], or: [2, 99], not: [1, 1], eq: [2, 2], gt: [2, 2], ge: [2, 2], lt: [2, 2], le: [2, 2], count: [1, 1], jsonpath: [1, 1] }[name];
    if (!arity) bad(`an unknown function ${name}`);
    if (given.length < arity[0] || given.length > arity[1]) bad(`${name} does not take ${given.length} values`);
    const [a, b] = given;
    switch (name) {
      case 'and': return given.every(Boolean);
      case 'or': return given.some(Boolean);
      case 'not': return !a;
      case 'eq': return typeof a === 'string' && typeof b === 'string' ? a.toLowerCase() === b.toLowerCase() : a === b;
      case 'gt': return a > b;
      case 'ge': return a >= b;
      case 'lt': return a < b;
      case 'le': return a <= b;
      case 'count':
        if (!Array.isArray(a)) bad('count of what is no list');
        return a.length;
      default: return jsonpath(a, root);
    }
  }

  const result = value();
  space();
  if (at !== expression.length) bad('more than one expression');
  if (typeof result !== 'boolean') bad('a result that is neither true nor false');
  return result;
}

function jsonpath(path, root) {
  let nodes = [root];
  let rest = path.replace(/^\$\.?/, '');
  while (rest !== '') {
    const name = /^\.?([A-Za-z_]\w*)/.exec(rest);
    if (name) {
      nodes = nodes.filter((node) => isObject(node) && Object.hasOwn(node, name[1])).map((node) => node[name[1]]);
      rest = rest.slice(name[0].length);
      continue;
    }
    if (rest.startsWith('[*]')) {
      nodes = nodes.flatMap(children);
      rest = rest.slice(3);
      continue;
    }
    const filter = /^\[\?\((.*?)\)\]/s.exec(rest);
    if (!filter) throw new Error(`an unknown step ${rest}`);
    const test = condition(filter[1]);
    nodes = nodes.flatMap(children).filter(test);
    rest = rest.slice(filter[0].length);
  }
  return nodes;
}

const isObject = (node) => node !== null && typeof node === 'object' && !Array.isArray(node);
const children = (node) => (Array.isArray(node) ? node : isObject(node) ? Object.values(node) : []);

function condition(text) {
  const tests = text.split('&&').map((part) => {
    const match = /^\s*@((?:\.[A-Za-z_]\w*)+)\s*(==|!=|<|>)\s*(?:'([^']*)'|(-?\d+)|(true|false))\s*$/.exec(part);
    if (!match) throw new Error(`an unknown filter ${part}`);
    const names = match[1].slice(1).split('.');
    const wanted = match[3] ?? (match[4] !== undefined ? Number(match[4]) : match[5] === 'true');
    return (node) => {
      let found = node;
      for (const name of names) {
        if (!isObject(found) || !Object.hasOwn(found, name)) return false;
        found = found[name];
      }
      switch (match[2]) {
        case '==': return found === wanted;
        case '!=': return found !== wanted;
        case '<': return found < wanted;
        default: return found > wanted;
      }
    };
  });
  return (node) => tests.every((test) => test(node));
}

module.exports = { evaluate, jsonpath };
