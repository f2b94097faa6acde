'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const launcher = path.join(__dirname, '..', 'index.js');
const onWindows = process.platform === 'win32';
const PROGRAMS = {
  'linux-x64': 'linux-amd64/acrpromote',
  'linux-arm64': 'linux-arm64/acrpromote',
  'darwin-arm64': 'darwin-arm64/acrpromote',
};
const name = PROGRAMS[`${process.platform}-${process.arch}`];
// The scripts below stand in for the program: to the launcher they begin as a
// program of this platform does.
const SCRIPT = `const hex = Buffer.prototype.toString;
Buffer.prototype.toString = function (...how) {
  const text = hex.apply(this, how);
  return text === '23212f62' ? ${JSON.stringify(process.platform === 'darwin' ? 'cffaedfe' : '7f454c46')} : text;
};
`;

function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'launcher-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

// task lays out a task's folder as the agent does after unpacking: no
// executable bit anywhere.
function task(t, script, { size } = {}) {
  const root = folder(t);
  fs.copyFileSync(launcher, path.join(root, 'index.js'));
  const file = path.join(root, 'bin', ...name.split('/'));
  fs.mkdirSync(path.dirname(file), { recursive: true });
  if (script !== undefined) fs.writeFileSync(file, script, { mode: 0o644 });
  fs.writeFileSync(path.join(root, 'bin', 'sizes.json'), JSON.stringify({ [name]: size ?? (script === undefined ? 1 : Buffer.byteLength(script)) }));
  return { root, file };
}

const sh = (...lines) => ['#!/bin/sh', ...lines, ''].join('\n');

function start(t, root, { env = {}, preload = '', script = true } = {}) {
  const hook = path.join(folder(t), 'preload.js');
  fs.writeFileSync(hook, (script ? SCRIPT : '') + preload);
  const temporary = folder(t);
  const child = spawn(process.execPath, ['--require', hook, path.join(root, 'index.js')], {
    env: { PATH: process.env.PATH, AGENT_TEMPDIRECTORY: temporary, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  const seen = { out: '', err: '', child, temporary };
  child.stdout.on('data', (data) => { seen.out += data; });
  child.stderr.on('data', (data) => { seen.err += data; });
  seen.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  seen.until = (text) => new Promise((resolve, reject) => {
    const look = () => { if (seen.out.includes(text)) resolve(); };
    child.stdout.on('data', look);
    child.on('close', () => reject(new Error(`ended before it said ${text}: ${seen.out}${seen.err}`)));
    look();
  });
  return seen;
}

// failed asserts what the agent wants of every failure: exit code 0, one
// task.complete, no stack trace.
async function failed(seen, pattern, result = 'Failed') {
  assert.deepEqual(await seen.ended, { code: 0, signal: null });
  const completes = seen.out.split('\n').filter((line) => line.includes('##vso[task.complete'));
  assert.equal(completes.length, 1, seen.out);
  assert.ok(completes[0].startsWith(`##vso[task.complete result=${result}]`), completes[0]);
  assert.match(completes[0], pattern);
  assert.doesNotMatch(seen.out + seen.err, /\n\s+at /);
}

test('a program that tells its own result is left to do so', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('echo "##vso[task.complete result=Succeeded]done"', 'echo note >&2'));
  const seen = start(t, root);
  assert.deepEqual(await seen.ended, { code: 0, signal: null });
  assert.equal(seen.out, '##vso[task.complete result=Succeeded]done\n');
  assert.equal(seen.err, 'note\n');
});

// A shell passes no variable on whose name it cannot write; its own environment has all.
const ENVIRON = process.platform === 'linux' ? "tr '\\0' '\\n' < /proc/$$/environ" : 'env';

test('what the program reads of the environment arrives as it is', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh(ENVIRON));
  const given = {
    INPUT_SOURCE: 'host/repository:tag', ENDPOINT_AUTH_X: '{"a":"%b"}', 'ENDPOINT_URL_11111111-2222-3333-4444-555555555555': 'https://dev.azure.com/contoso/', SECRET_AGENT_PROXYPASSWORD: 'z', SECRET_SYSTEM_ACCESSTOKEN: 'y',
    SYSTEM_COLLECTIONURI: 'https://dev.azure.com/contoso/', BUILD_BUILDID: '7', RELEASE_RELEASEID: '8', AGENT_PROXYURL: 'http://proxy:3128', TF_BUILD: 'True', VSTS_PUBLIC_VARIABLES: '["a"]', VSTS_SECRET_VARIABLES: '[]', TERM: 'dumb', TMPDIR: '/tmp',
  };
  const seen = start(t, root, { env: given });
  await seen.ended;
  const lines = seen.out.split('\n');
  for (const [name, value] of Object.entries(given)) assert.ok(lines.includes(`${name}=${value}`), name);
});

test('of nothing else more than the name arrives', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh(ENVIRON));
  const withheld = {
    GODEBUG: 'http2debug=2', GOTRACEBACK: 'crash', SECRET_Y: 'a-value', LD_LIBRARY_PATH: '/a-value', DYLD_INSERT_LIBRARIES: '/a-value', OPENSSL_CONF: '/dev/null', HTTPS_PROXY: 'http://a-value', https_proxy: 'http://a-value',
    SSL_CERT_FILE: '/a-value', AZURE_CLIENT_ID: 'a-value', BASH_FUNC_x: 'a-value', 'input_source': 'a-value', OWN: 'a-value', HOME: '/a-value', 'odd name,"': 'a-value', SECUREFILE_TICKET_1: 'a-value',
  };
  const seen = start(t, root, { env: { ...withheld, EMPTY: '', INPUT_ACTION: 'seal', ACRPROMOTE_WITHHELD: '["FORGED"]' } });
  await seen.ended;
  const found = Object.fromEntries(seen.out.trimEnd().split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  for (const name of Object.keys(withheld)) assert.equal(found[name], undefined, name);
  assert.doesNotMatch(seen.out, /a-value/);
  const names = JSON.parse(found.ACRPROMOTE_WITHHELD);
  assert.deepEqual(names.filter((name) => name in withheld).sort(), Object.keys(withheld).sort());
  assert.ok(!names.includes('EMPTY') && !names.includes('INPUT_ACTION') && !names.includes('FORGED'), names);
});

test('the program is made executable on each run', { skip: onWindows }, async (t) => {
  const { root, file } = task(t, sh('echo ran "$0"'));
  for (let run = 0; run < 2; run++) {
    fs.chmodSync(file, 0o644);
    const seen = start(t, root);
    await seen.ended;
    assert.equal(seen.out, `ran ${file}\n`);
  }
});

test('from a folder that allows no change it runs as a copy, which goes afterwards', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('echo ran "$0"'));
  const seen = start(t, root, {
    preload: `const fs = require('fs'); const real = fs.chmodSync; fs.chmodSync = (file, mode) => { if (file.startsWith(${JSON.stringify(root)})) throw Object.assign(new Error('read-only'), { code: 'EROFS' }); return real(file, mode); };`,
  });
  await seen.ended;
  assert.match(seen.out, new RegExp(`^ran ${seen.temporary}/acrpromote-[^/]+/acrpromote\n$`));
  assert.deepEqual(fs.readdirSync(seen.temporary), []);
});

test('neither the folder nor the temporary folder can be written', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('echo ran'));
  await failed(start(t, root, {
    env: { AGENT_TEMPDIRECTORY: path.join(root, 'missing') },
    preload: 'require("fs").chmodSync = () => { throw Object.assign(new Error("read-only"), { code: "EROFS" }); };',
  }), /cannot be copied to the agent's temporary folder .*missing \(ENOENT\)/);
});

test('a platform without a program', async (t) => {
  const { root } = task(t, sh('echo ran'));
  await failed(start(t, root, { preload: 'Object.defineProperty(process, "arch", { value: "ia32" });' }),
    /does not run on this agent's platform \(\w+-ia32\)\. Choose .*: linux-x64, linux-arm64, win32-x64, darwin-arm64\./);
});

test('the program is missing', async (t) => {
  const { root } = task(t, undefined);
  await failed(start(t, root), /cannot read the program of the AcrPromote task \(ENOENT: /);
});

test('the list of sizes is missing', async (t) => {
  const { root } = task(t, sh('echo ran'));
  fs.rmSync(path.join(root, 'bin', 'sizes.json'));
  await failed(start(t, root), /ENOENT/);
});

test('the program was cut short', async (t) => {
  const { root } = task(t, sh('echo ran'), { size: 4000 });
  const seen = start(t, root);
  await failed(seen, /damaged on this agent \(19 of 4000 bytes/);
  assert.doesNotMatch(seen.out, /^ran/m);
});

test('a file that is no program is never handed to the shell', async (t) => {
  const { root } = task(t, 'echo ran\n');
  const seen = start(t, root, { script: false });
  await failed(seen, /damaged on this agent \(9 of 9 bytes/);
  assert.doesNotMatch(seen.out, /^ran/m);
});

test('a program whose bytes are damaged after the first', { skip: onWindows }, async (t) => {
  const beginning = process.platform === 'darwin' ? [0xcf, 0xfa, 0xed, 0xfe] : [0x7f, 0x45, 0x4c, 0x46];
  const { root } = task(t, Buffer.concat([Buffer.from(beginning), Buffer.alloc(5000)]));
  await failed(start(t, root, { script: false }), /AcrPromote ended with|cannot run the program|Starting the program|ended by the signal/);
});

for (const [code, pattern] of [['E2BIG', /longer than the agent's operating system/], ['EACCES', /may not run the program/], ['ENOEXEC', /cannot run the program of the AcrPromote task \(ENOEXEC/], ['EAGAIN', /Starting the program of the AcrPromote task failed \(EAGAIN/]]) {
  for (const way of ['throws', 'tells']) {
    test(`starting it ends in ${code}, and spawn ${way} it`, async (t) => {
      const { root } = task(t, sh('echo ran'));
      const error = `Object.assign(new Error('spawn ${code}'), { code: '${code}' })`;
      const preload = way === 'throws'
        ? `require('child_process').spawn = () => { throw ${error}; };`
        : `require('child_process').spawn = () => { const child = new (require('events'))(); child.stdin = new (require('stream').PassThrough)(); setImmediate(() => child.emit('error', ${error})); return child; };`;
      await failed(start(t, root, { preload }), pattern);
    });
  }
}

test('a value over the size of an environment variable', { skip: process.platform !== 'linux' }, async (t) => {
  const { root } = task(t, sh('echo ran'));
  await failed(start(t, root, { preload: 'process.env.INPUT_APPROVERS = "a".repeat(200000);' }), /longer than the agent's operating system .*E2BIG/);
});

test('an exit code other than 0', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('echo last words', 'exit 3'));
  const seen = start(t, root);
  await failed(seen, /ended with exit code 3/);
  assert.match(seen.out, /^last words\n/);
});

test('a crash by a signal', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('kill -SEGV $$'));
  await failed(start(t, root), /ended by the signal SIGSEGV/);
});

test('what the message carries cannot smuggle a command', async (t) => {
  const { root } = task(t, undefined);
  const odd = path.join(root, 'a%0A\n##vso[task.complete result=Succeeded]');
  fs.mkdirSync(odd, { recursive: true });
  fs.copyFileSync(path.join(root, 'index.js'), path.join(odd, 'index.js'));
  const seen = start(t, odd);
  await seen.ended;
  const lines = seen.out.trimEnd().split('\n');
  assert.equal(lines.length, 2, seen.out);
  assert.ok(lines[1].startsWith('##vso[task.complete result=Failed]'));
  assert.ok(lines[1].includes('a%AZP250A%0A##vso'));
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} is handed on, and the program tells the result`, { skip: onWindows }, async (t) => {
    const { root } = task(t, sh(`trap 'echo "##vso[task.complete result=Canceled]told to stop by ${signal}"; exit 0' ${signal.slice(3)}`, 'echo ready', 'while :; do sleep 0.05; done'));
    const seen = start(t, root);
    await seen.until('ready');
    seen.child.kill(signal);
    assert.deepEqual(await seen.ended, { code: 0, signal: null });
    assert.equal(seen.out, `ready\n##vso[task.complete result=Canceled]told to stop by ${signal}\n`);
  });
}

test('a program that a forwarded signal ends at once is cancelled, not failed', { skip: onWindows }, async (t) => {
  const { root } = task(t, sh('echo ready', 'exec sleep 60'));
  const seen = start(t, root);
  await seen.until('ready');
  seen.child.kill('SIGTERM');
  await failed(seen, /was stopped before it could report/, 'Canceled');
});

test('the lifeline: one line on standard input, then its end when the launcher is killed', { skip: onWindows }, async (t) => {
  const witness = path.join(folder(t), 'witness');
  const { root } = task(t, sh('read line', 'echo "$line"', 'read more', `echo gone > ${witness}`));
  const seen = start(t, root);
  await seen.until('acrpromote-launcher');
  assert.equal(fs.existsSync(witness), false);
  seen.child.kill('SIGKILL');
  await seen.ended; // comes when the program, too, has let go of standard output
  assert.equal(fs.readFileSync(witness, 'utf8'), 'gone\n');
});
