import assert from 'node:assert/strict';
import test from 'node:test';
import { deflateSync, inflateSync } from 'node:zlib';
import { smaller } from '../png.mjs';
import { ansiToHTML, commandsToHTML, markdownToHTML } from '../render.mjs';

test('colours', () => {
  assert.equal(ansiToHTML('\x1b[1m<a>\x1b[0m b\r\n\x1b[2K\x1b[31mc'), '<span class="b">&lt;a&gt;</span> b\n<span class="r">c</span>');
  assert.equal(ansiToHTML('\x1b[44mx\x1b[0m'), 'x');
});

test('a log', () => {
  const log = 'a <b>\n##vso[task.debug]no\n##vso[task.logissue type=error;]refused%3B 1%AZP25\n##vso[task.logissue type=warning]w\n##vso[task.complete result=Failed;]x\n';
  assert.equal(commandsToHTML(log), 'a &lt;b&gt;\n<span class="error">##[error]refused; 1%</span>\n<span class="warning">##[warning]w</span>');
});

test('a summary', () => {
  const html = markdownToHTML('## a: done\n\nText **b** `<c>` &#46;.\n\n| x | y |\n|---|---|\n| 1 | `2` |\n\n- one\n- two\n\n1. first\n\n<details><summary>More</summary>\n\n</details>\n');
  assert.equal(html, [
    '<h2>a: done</h2>', '<p>Text <b>b</b> <code>&lt;c&gt;</code> &#46;.</p>',
    '<table><tr><th>x</th><th>y</th></tr>', '<tr><td>1</td><td><code>2</code></td></tr>', '</table>',
    '<ul><li>one</li><li>two</li></ul>', '<ol><li>first</li></ol>',
    '<details><summary>More</summary>', '</details>',
  ].join('\n'));
});

test('what stands in a summary stays text', () => {
  assert.equal(markdownToHTML('a <script>'), '<p>a &lt;script></p>');
});

test('a picture keeps its size and its colours', () => {
  const chunk = (name, data) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return Buffer.concat([length, Buffer.from(name, 'latin1'), data, Buffer.alloc(4)]);
  };
  // Three rows of two pixels, filtered by Sub, Up and Paeth.
  const rows = [1, 10, 20, 30, 0, 0, 5, 2, 0, 0, 0, 1, 1, 1, 4, 0, 0, 0, 0, 0, 0];
  const png = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', Buffer.from([0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0])),
    chunk('IDAT', deflateSync(Buffer.from(rows))), chunk('IEND', Buffer.alloc(0))]);
  const made = smaller(png);
  assert.deepEqual([made.readUInt32BE(16), made.readUInt32BE(20), made[24], made[25]], [2, 3, 8, 3]);
  const part = (name) => {
    const at = made.indexOf(name);
    return made.subarray(at + 4, at + 4 + made.readUInt32BE(at - 4));
  };
  const palette = part('PLTE').toString('hex').match(/.{6}/g);
  const pixels = [...inflateSync(part('IDAT'))].filter((_, at) => at % 3 !== 0).map((each) => palette[each]);
  assert.deepEqual(pixels, ['0a141e', '0a1423', '0a141e', '0b1524', '0a141e', '0b1524']);
  assert.throws(() => smaller(Buffer.from('GIF89a..')), /no PNG/);
});
