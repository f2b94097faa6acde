// Makes screenshots small enough for the VSIX: a browser writes each pixel in three or four
// bytes, and a page of text needs few colors.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const COLORS = 256;

// decode returns the pixels of an image with 8 bits for each of three or four channels, as
// browsers write it: one number for each pixel, without its opacity.
export function decode(png) {
  const data = [];
  let header;
  for (let at = SIGNATURE.length; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const type = png.toString('latin1', at + 4, at + 8);
    const content = png.subarray(at + 8, at + 8 + png.readUInt32BE(at));
    if (type === 'IHDR') header = content;
    if (type === 'IDAT') data.push(content);
  }
  const [width, height, channels] = [header.readUInt32BE(0), header.readUInt32BE(4), { 2: 3, 6: 4 }[header[9]]];
  if (header[8] !== 8 || !channels || header[12] !== 0) throw new Error('The image is not one with 8 bits for each of three or four channels.');
  const raw = inflateSync(Buffer.concat(data));
  const row = width * channels;
  const bytes = Buffer.alloc(row * height);
  for (let y = 0; y < height; y += 1) {
    const filter = raw[y * (row + 1)];
    for (let x = 0; x < row; x += 1) {
      const at = y * row + x;
      const left = x < channels ? 0 : bytes[at - channels];
      const up = y === 0 ? 0 : bytes[at - row];
      const corner = x < channels || y === 0 ? 0 : bytes[at - row - channels];
      bytes[at] = raw[y * (row + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
    }
  }
  return { width, height, pixels: Uint32Array.from({ length: width * height }, (_, i) => bytes.readUIntBE(i * channels, 3)) };
}

function paeth(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

// withPalette returns the image with its 256 most frequent colors. The others, at the
// edges of letters, become the nearest of these.
export function withPalette({ width, height, pixels }) {
  const counts = new Map();
  for (const color of pixels) counts.set(color, (counts.get(color) ?? 0) + 1);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || a - b).map(([color]) => color);
  const palette = sorted.slice(0, COLORS);
  const distance = (a, b) => [16, 8, 0].reduce((sum, shift) => sum + (((a >> shift) & 255) - ((b >> shift) & 255)) ** 2, 0);
  const index = new Map(palette.map((color, i) => [color, i]));
  for (const color of sorted.slice(COLORS)) {
    index.set(color, palette.reduce((best, each, i) => (distance(each, color) < distance(palette[best], color) ? i : best), 0));
  }
  const raw = Buffer.alloc((width + 1) * height);
  pixels.forEach((color, i) => { raw[Math.floor(i / width) * (width + 1) + 1 + (i % width)] = index.get(color); });
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3], 8);
  const table = Buffer.concat(palette.map((color) => Buffer.from([color >> 16, (color >> 8) & 255, color & 255])));
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('PLTE', table), chunk('IDAT', deflateSync(raw, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type, content) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
