import assert from 'node:assert/strict';
import test from 'node:test';
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

test('a block of code, and lines in a cell', () => {
  assert.equal(markdownToHTML('```\nA-B <c>\n\nD\n```\n\nx'), '<pre>A-B &lt;c&gt;\n\nD</pre>\n<p>x</p>');
  assert.equal(markdownToHTML('| x |\n|---|\n| a<br>b |'), '<table><tr><th>x</th></tr>\n<tr><td>a<br>b</td></tr>\n</table>');
});

test('what stands in a summary stays text', () => {
  assert.equal(markdownToHTML('a <script>'), '<p>a &lt;script></p>');
  assert.equal(markdownToHTML('**a (`b*c`)**, `**`'), '<p><b>a (<code>b&#42;c</code>)</b>, <code>&#42;&#42;</code></p>');
});
