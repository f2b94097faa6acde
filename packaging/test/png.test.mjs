import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { deflateSync } from 'node:zlib';
import { decode, withPalette } from '../png.mjs';

const root = new URL('../../', import.meta.url);

// sized returns the width and the height of an image.
const sized = (png) => [png.readUInt32BE(16), png.readUInt32BE(20)];

// chunks returns those of an image by their names.
function chunks(png) {
  const found = {};
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) found[png.toString('latin1', at + 4, at + 8)] = png.subarray(at + 8, at + 8 + png.readUInt32BE(at));
  return found;
}

// picture returns an image whose rows have these filters and bytes.
function picture(width, height, channels, raw) {
  const part = (type, content) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(content.length);
    return Buffer.concat([length, Buffer.from(type), content, Buffer.alloc(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 3 ? 2 : 6], 8);
  return Buffer.concat([Buffer.alloc(8), part('IHDR', header), part('IDAT', deflateSync(Buffer.from(raw)))]);
}

test('each filter of rows is undone', () => {
  const raw = [0, 1, 2, 3, 4, 5, 6, 1, 10, 0, 0, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 3, 2, 2, 2, 2, 2, 2, 4, 250, 1, 1, 1, 1, 255];
  const { pixels } = decode(picture(2, 5, 3, raw));
  assert.deepEqual([...pixels].map((p) => p.toString(16).padStart(6, '0')), ['010203', '040506', '0a0000', '0b0101', '0b0101', '0c0202', '070202', '0b0404', '010303', '080503']);
  assert.deepEqual([...decode(picture(1, 1, 4, [0, 9, 8, 7, 255])).pixels], [0x090807]);
});

test('up to 256 colors stay, and others become the nearest', () => {
  const few = { width: 16, height: 16, pixels: Uint32Array.from({ length: 256 }, (_, i) => i * 0x010000 + 5) };
  const { PLTE, IHDR } = chunks(withPalette(few));
  assert.deepEqual([PLTE.length, IHDR[8], IHDR[9]], [768, 8, 3]);
  const many = { width: 257, height: 2, pixels: Uint32Array.from({ length: 514 }, (_, i) => (i === 513 ? 0xfefefe : (i % 256) * 0x010101)) };
  assert.ok(!chunks(withPalette(many)).PLTE.includes(Buffer.from([1, 0xfe])));
  assert.equal(chunks(withPalette(many)).PLTE.length, 768);
});

test('the images of the Marketplace are sharp, and of the size that it asks for', () => {
  const { screenshots } = JSON.parse(fs.readFileSync(new URL('vss-extension.json', root), 'utf8'));
  assert.equal(screenshots.length, 3);
  for (const { path } of screenshots) assert.deepEqual(sized(fs.readFileSync(new URL(path, root))), [2 * 1366, 2 * 768], path);
  const shown = [...fs.readFileSync(new URL('overview.md', root), 'utf8').matchAll(/!\[[^\]]+\]\((images\/[^)]+)\)/g)].map(([, file]) => file);
  assert.ok(screenshots.every(({ path }) => shown.includes(path)));
  for (const file of shown) assert.ok(sized(fs.readFileSync(new URL(file, root)))[0] >= 1800, file);
});
