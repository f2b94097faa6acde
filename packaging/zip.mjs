// Reads and writes zip archives, as far as a VSIX needs them. The output depends
// only on names, contents and zlib: entries in the given order, a fixed time, no
// attributes.
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const UTF8 = 0x0800;
const VERSION = 20;
const DATE = 0x0021; // 1980-01-01, the earliest date of the format

// readZip returns the files of an archive as a Map from name to contents.
export function readZip(archive) {
  let end = archive.length - 22;
  while (end >= 0 && archive.readUInt32LE(end) !== END) end--;
  if (end < 0) throw new Error('not a zip archive: it has no end record');
  const files = new Map();
  let at = archive.readUInt32LE(end + 16);
  for (let count = archive.readUInt16LE(end + 10); count > 0; count--) {
    if (archive.readUInt32LE(at) !== CENTRAL) throw new Error(`the directory of the zip archive is damaged at offset ${at}`);
    const method = archive.readUInt16LE(at + 10);
    const crc = archive.readUInt32LE(at + 16);
    const packed = archive.readUInt32LE(at + 20);
    const nameLength = archive.readUInt16LE(at + 28);
    const local = archive.readUInt32LE(at + 42);
    const name = archive.toString('utf8', at + 46, at + 46 + nameLength);
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
    if (name.endsWith('/')) continue;
    const from = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const data = archive.subarray(from, from + packed);
    if (method !== 0 && method !== 8) throw new Error(`${name} uses an unsupported compression method (${method})`);
    const contents = method === 8 ? inflateRawSync(data) : Buffer.from(data);
    if (crc32(contents) !== crc) throw new Error(`${name} is damaged in the zip archive`);
    if (files.has(name)) throw new Error(`${name} occurs twice in the zip archive`);
    files.set(name, contents);
  }
  return files;
}

// writeZip returns the archive of a Map from name to contents, in its order.
export function writeZip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, contents] of files) {
    const packed = deflateRawSync(contents, { level: 9 });
    const stored = packed.length >= contents.length;
    const data = stored ? contents : packed;
    const path = Buffer.from(name, 'utf8');
    const head = Buffer.alloc(26);
    head.writeUInt16LE(VERSION, 0);
    head.writeUInt16LE(UTF8, 2);
    head.writeUInt16LE(stored ? 0 : 8, 4);
    head.writeUInt16LE(DATE, 8);
    head.writeUInt32LE(crc32(contents), 10);
    head.writeUInt32LE(data.length, 14);
    head.writeUInt32LE(contents.length, 18);
    head.writeUInt16LE(path.length, 22);
    const local = Buffer.alloc(4);
    local.writeUInt32LE(LOCAL);
    const entry = Buffer.alloc(6);
    entry.writeUInt32LE(CENTRAL);
    entry.writeUInt16LE(VERSION, 4);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    parts.push(local, head, path, data);
    directory.push(entry, head, tail, path);
    offset += 4 + head.length + path.length + data.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(END);
  end.writeUInt16LE(files.size, 8);
  end.writeUInt16LE(files.size, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}
