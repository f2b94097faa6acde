// Makes the VSIX from tfx reproducible: sorts its files and rewrites the list of
// content types, because tfx takes some of them from the machine's `file`
// command.
import { extname } from 'node:path/posix';
import { readZip, writeZip } from './zip.mjs';

const TYPES_NAME = '[Content_Types].xml';
const TYPES = {
  '.css': 'text/css',
  '.exe': 'application/octet-stream',
  '.html': 'text/html',
  '.js': 'application/javascript',
  '.json': 'application/json',
  '.md': 'text/markdown',
  '.png': 'image/png',
  '.vsixmanifest': 'text/xml',
  '.vsomanifest': 'application/json',
};
// Files without an extension.
const NAMED = { LICENSE: 'text/plain', acrpromote: 'application/octet-stream' };

const byName = ([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b));

// repack returns an archive with the same files and the same bytes on every
// machine.
export function repack(archive) {
  const files = readZip(archive);
  if (!files.delete(TYPES_NAME)) throw new Error(`The VSIX has no ${TYPES_NAME}.`);
  const sorted = [...files].sort(byName);
  return writeZip(new Map([[TYPES_NAME, Buffer.from(contentTypes(sorted.map(([name]) => name)))], ...sorted]));
}

function contentTypes(names) {
  const defaults = new Map();
  const overrides = [];
  for (const name of names) {
    const extension = extname(name).toLowerCase();
    const type = extension ? TYPES[extension] : NAMED[name.slice(name.lastIndexOf('/') + 1)];
    if (!type) throw new Error(`packaging/vsix.mjs has no content type for ${name}: add one.`);
    if (extension) defaults.set(extension, type);
    else overrides.push(`<Override PartName="/${name}" ContentType="${type}"/>`);
  }
  return '<?xml version="1.0" encoding="utf-8"?>\n' +
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">' +
    [...defaults].sort(byName).map(([extension, type]) => `<Default Extension="${extension}" ContentType="${type}"/>`).join('') +
    overrides.join('') + '</Types>\n';
}
