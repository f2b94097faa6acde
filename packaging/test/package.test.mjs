import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { builtWith, reproducible } from '../sbom.mjs';
import { billOfTab, bundleTab } from '../tab.mjs';
import { repack } from '../vsix.mjs';
import { readZip, writeZip } from '../zip.mjs';

const TYPES = '[Content_Types].xml';
const files = (entries) => new Map(Object.entries(entries).map(([name, text]) => [name, Buffer.from(text)]));
const package_ = { [TYPES]: '<Types/>', 'task/index.js': 'run()', 'extension.vsixmanifest': '<x/>', 'task/bin/linux-amd64/acrpromote': 'ELF'.repeat(1000), LICENSE: 'MIT' };

test('what is written is read again', () => {
  const written = files({ 'a/b.txt': 'text'.repeat(100), empty: '', 'é.bin': '\0\xff' });
  assert.deepEqual(readZip(writeZip(written)), written);
});

test('damage is found', () => {
  const archive = writeZip(files({ a: 'x'.repeat(1000), b: 'yz' }));
  assert.throws(() => readZip(archive.subarray(0, archive.length - 30)), /no end record/);
  const stored = Buffer.from(archive);
  stored[stored.indexOf('yz')] ^= 1;
  assert.throws(() => readZip(stored), /b is damaged/);
  const twice = Buffer.from(archive);
  twice[twice.lastIndexOf('b')] = 'a'.charCodeAt(0);
  assert.throws(() => readZip(twice), /a occurs twice|damaged/);
});

test('no entry bears a time or an attribute', () => {
  const archive = writeZip(files(package_));
  let at = archive.readUInt32LE(archive.length - 6);
  for (let count = Object.keys(package_).length; count > 0; count--) {
    assert.equal(archive.readUInt32LE(at + 12), 0x00210000);
    assert.equal(archive.readUInt32LE(at + 38), 0);
    at += 46 + archive.readUInt16LE(at + 28);
  }
});

test('the order in which tfx wrote makes no difference', () => {
  const there = repack(writeZip(files(package_)));
  const back = repack(writeZip(new Map([...files(package_)].reverse())));
  assert.ok(there.equals(back));
  assert.deepEqual([...readZip(there).keys()], [TYPES, 'LICENSE', 'extension.vsixmanifest', 'task/bin/linux-amd64/acrpromote', 'task/index.js']);
  assert.ok(there.equals(repack(there)));
});

test('every file has its content type', () => {
  const types = readZip(repack(writeZip(files(package_)))).get(TYPES).toString();
  assert.match(types, /<Default Extension="\.js" ContentType="application\/javascript"\/>/);
  assert.match(types, /<Override PartName="\/task\/bin\/linux-amd64\/acrpromote" ContentType="application\/octet-stream"\/>/);
  assert.match(types, /<Override PartName="\/LICENSE" ContentType="text\/plain"\/>/);
  assert.throws(() => repack(writeZip(files({ ...package_, 'a.odd': '' }))), /no content type for a\.odd/);
  assert.throws(() => repack(writeZip(files({ LICENSE: '' }))), /has no \[Content_Types\]\.xml/);
});

test('the bill of materials is the same on every machine', () => {
  const bill = (hash) => ({
    metadata: {
      tools: [{ name: 'cyclonedx-gomod', version: 'v1', hashes: [{ alg: 'SHA-256', content: hash }] }],
      properties: [{ name: 'cdx:gomod:binary:hash:SHA-256', value: 'program' }, { name: 'cdx:gomod:build:env:GOOS', value: 'linux' }],
    },
  });
  const made = reproducible(bill('here'));
  assert.deepEqual(made, reproducible(bill('there')));
  assert.deepEqual(made.metadata.tools, [{ name: 'cyclonedx-gomod', version: 'v1' }]);
  assert.equal(made.metadata.properties[0].value, 'program');
  assert.equal(builtWith(made, 'GOOS'), 'linux');
  assert.equal(builtWith(made, 'GOARCH'), undefined);
});

test('the tab is small, the same on every build, and asks for runs that have the task', async () => {
  const read = (name) => fs.readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
  const { id } = JSON.parse(read('task/task.json'));
  const { contributions, files, scopes } = JSON.parse(read('vss-extension.json'));
  const [tab] = contributions.filter(({ type }) => type === 'ms.vss-build-web.build-results-tab');
  assert.deepEqual(tab.targets, ['ms.vss-build-web.build-results-view']);
  assert.deepEqual(tab.properties.supportsTasks, [id]);
  assert.deepEqual(scopes, ['vso.build']);
  assert.ok(files.some(({ path: of, addressable }) => of === path.dirname(tab.properties.uri) && addressable));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tab-'));
  try {
    const made = [];
    for (const name of ['one', 'two']) {
      const { size, packages } = await bundleTab(path.join(folder, name));
      assert.ok(size < 150_000);
      // The page has the license of each.
      assert.deepEqual(packages, ['azure-devops-extension-sdk']);
      const { components: [{ purl, hashes, licenses }] } = billOfTab(packages, '1.0.0');
      assert.equal(purl, 'pkg:npm/azure-devops-extension-sdk@5.0.0');
      assert.match(hashes[0].content, /^[0-9a-f]{128}$/);
      assert.deepEqual(licenses, [{ license: { id: 'MIT' } }]);
      made.push(fs.readdirSync(path.join(folder, name)).map((file) => [file, fs.readFileSync(path.join(folder, name, file), 'utf8')]));
    }
    assert.deepEqual(made[0], made[1]);
    assert.deepEqual(made[0].map(([file]) => file), ['index.html', 'tab.css', 'tab.js']);
    const [page, , script] = made[0].map(([, text]) => text);
    assert.ok(script.includes(`"${id}"`) && script.includes('Copyright (c) Microsoft Corporation'));
    // The page names no other address, and nothing makes elements of text.
    assert.deepEqual([...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address), ['tab.css', 'tab.js']);
    assert.doesNotMatch(script, /innerHTML|insertAdjacentHTML|document\.write|eval\(/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('a program that is missing', () => {
  const nothing = fs.mkdtempSync(path.join(os.tmpdir(), 'package-'));
  try {
    const script = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'package.mjs');
    const { status, stderr } = spawnSync(process.execPath, [script, '--bin', nothing, '--out', path.join(nothing, 'out')], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /acrpromote does not exist: build the program for linux-amd64 first\.\n$/);
    assert.deepEqual(fs.readdirSync(nothing), []);
  } finally {
    fs.rmSync(nothing, { recursive: true });
  }
});

test('the lock file names no other registry, and nothing that runs at installation', () => {
  const lock = JSON.parse(fs.readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'));
  const packages = Object.entries(lock.packages).filter(([name]) => name !== '');
  assert.ok(packages.length > 10);
  for (const [name, { resolved, integrity, hasInstallScript }] of packages) {
    assert.ok(!resolved || resolved.startsWith('https://registry.npmjs.org/'), name);
    assert.match(integrity, /^sha512-/, name);
    assert.ok(!hasInstallScript, name);
  }
});
