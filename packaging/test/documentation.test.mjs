import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { documented, readAddress } from '../documentation.mjs';

const root = new URL('../../', import.meta.url);
const read = (name) => JSON.parse(fs.readFileSync(new URL(name, root), 'utf8'));
const address = 'https://docs.example.com/acrpromote';

test('without an address nothing links', () => {
  const { documentation, ...manifest } = read('vss-extension.json');
  assert.equal(typeof documentation, 'string');
  assert.deepEqual(documented.manifest({ ...manifest, documentation: '' }, ''), manifest);
  assert.equal(manifest.links, undefined);
  for (const folder of ['task', 'gate']) {
    const task = read(`${folder}/task.json`);
    assert.equal(task.helpUrl, undefined);
    assert.deepEqual(documented.task(task, folder, ''), task);
  }
});

test('with an address the extension and both tasks link to pages that exist', () => {
  const manifest = documented.manifest(read('vss-extension.json'), address);
  assert.equal('documentation' in manifest, false);
  const links = Object.values(manifest.links).map(({ uri }) => uri);
  assert.deepEqual(Object.keys(manifest.links), ['getstarted', 'learn', 'support']);
  for (const folder of ['task', 'gate']) {
    const before = read(`${folder}/task.json`);
    const task = documented.task(before, folder, address);
    assert.equal(task.helpMarkDown, `${before.helpMarkDown} [Documentation](${task.helpUrl})`);
    links.push(task.helpUrl);
  }
  for (const link of links) {
    assert.ok(link.startsWith(`${address}/`), link);
    assert.ok(fs.existsSync(new URL(`docs/${link.slice(address.length + 1)}`, root)), link);
  }
});

test('the links of a publisher stay', () => {
  const { links } = documented.manifest({ links: { support: { uri: 'https://support.example.com' } } }, address);
  assert.equal(links.support.uri, 'https://support.example.com');
  assert.equal(links.learn.uri, `${address}/README.md`);
});

test('the address is read from the manifest, and one that is not valid fails the build', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'documentation-'));
  try {
    const file = path.join(folder, 'vss-extension.json');
    const set = (documentation) => fs.writeFileSync(file, JSON.stringify({ documentation }));
    for (const valid of ['', address]) {
      set(valid);
      assert.equal(readAddress(file), valid);
    }
    set(`${address}/`);
    assert.throws(() => readAddress(file));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
