// Builds dist/ from the programs in bin/<os>-<arch>/: the VSIX, the software bills
// of materials and SHA256SUMS. The build is reproducible: the same sources and
// programs give the same bytes.
//
//   node packaging/package.mjs [--bin FOLDER] [--out FOLDER]
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { documented, readAddress } from './documentation.mjs';
import { billOfMaterials, builtWith } from './sbom.mjs';
import { billOfTab, bundleTab } from './tab.mjs';
import { repack } from './vsix.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const PLATFORMS = ['linux-amd64', 'linux-arm64', 'windows-amd64', 'darwin-arm64'];
const LIMIT = 22 * 1000 * 1000;

const programName = (platform) => `${platform}/acrpromote${platform.startsWith('windows') ? '.exe' : ''}`;
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
const read = (...parts) => fs.readFileSync(path.join(...parts));

async function main() {
  const { values } = parseArgs({ options: { bin: { type: 'string', default: path.join(root, 'bin') }, out: { type: 'string', default: path.join(root, 'dist') } } });
  const version = read(root, 'VERSION').toString().trim();
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error(`VERSION is ${version}, which is not of the form major.minor.patch.`);
  const address = readAddress(path.join(root, 'vss-extension.json'));
  const programs = PLATFORMS.map((platform) => inspect(values.bin, platform, version, address));
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'acrpromote-stage-'));
  try {
    lay(stage, version, values.bin, programs, address);
    const tab = await bundleTab(path.join(stage, 'tab'));
    const publisher = JSON.parse(read(stage, 'vss-extension.json')).publisher;
    const name = `${publisher}.acrpromote-${version}`;
    const vsix = repack(tfx(stage));
    if (vsix.length > LIMIT) throw new Error(`The VSIX has ${vsix.length} bytes; the limit is ${LIMIT}, because servers refuse larger files.`);
    const made = Object.fromEntries(programs.map(({ platform, bill }) => [`${name}-${platform}.cdx.json`, json(bill)]));
    made[`${name}-tab.cdx.json`] = json(billOfTab(tab.packages, version));
    made[`${name}.vsix`] = vsix;
    made.SHA256SUMS = Object.entries(made).map(([file, bytes]) => `${sha256(bytes)}  ${file}\n`).join('');
    fs.mkdirSync(values.out, { recursive: true });
    for (const [file, bytes] of Object.entries(made)) fs.writeFileSync(path.join(values.out, file), bytes);
    process.stdout.write(programs.map(({ name: program, size }) => `${program} ${size} bytes\n`).join(''));
    process.stdout.write(`tab ${tab.size} bytes\n${path.join(values.out, `${name}.vsix`)} ${vsix.length} bytes\n${made.SHA256SUMS}`);
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
}

// inspect reads a program and its build information.
function inspect(bin, platform, version, address) {
  const name = programName(platform);
  const file = path.join(bin, ...name.split('/'));
  if (!fs.existsSync(file)) throw new Error(`${file} does not exist: build the program for ${platform} first.`);
  const bill = billOfMaterials(file, version);
  const built = `${builtWith(bill, 'GOOS')}-${builtWith(bill, 'GOARCH')}`;
  if (built !== platform) throw new Error(`${file} was built for ${built}, not for ${platform}.`);
  if (builtWith(bill, 'CGO_ENABLED') !== '0') throw new Error(`${file} is not statically linked: build it with CGO_ENABLED=0.`);
  const content = fs.readFileSync(file);
  if (!content.includes(address)) throw new Error(`${file} was built without the address of the documentation (${address}): run ./build.sh.`);
  return { platform, name, size: content.length, bill };
}

// lay collects the contents of the package, and sets the version and the links to
// the documentation.
function lay(stage, version, bin, programs, address) {
  const [Major, Minor, Patch] = version.split('.').map(Number);
  for (const task of ['task', 'gate']) {
    fs.mkdirSync(path.join(stage, task));
    fs.copyFileSync(path.join(root, task, 'icon.png'), path.join(stage, task, 'icon.png'));
    fs.writeFileSync(path.join(stage, task, 'task.json'), json(documented.task({ ...JSON.parse(read(root, task, 'task.json')), version: { Major, Minor, Patch } }, task, address)));
  }
  fs.copyFileSync(path.join(root, 'task', 'index.js'), path.join(stage, 'task', 'index.js'));
  for (const { name } of programs) {
    fs.mkdirSync(path.join(stage, 'task', 'bin', path.dirname(name)), { recursive: true });
    fs.copyFileSync(path.join(bin, name), path.join(stage, 'task', 'bin', name));
  }
  fs.writeFileSync(path.join(stage, 'task', 'bin', 'sizes.json'), json(Object.fromEntries(programs.map(({ name, size }) => [name, size]))));
  fs.writeFileSync(path.join(stage, 'vss-extension.json'), json(documented.manifest({ ...JSON.parse(read(root, 'vss-extension.json')), version }, address)));
  for (const file of ['overview.md', 'CHANGELOG.md', 'LICENSE']) fs.copyFileSync(path.join(root, file), path.join(stage, file));
  fs.mkdirSync(path.join(stage, 'images'));
  for (const file of fs.readdirSync(path.join(root, 'images')).filter((each) => each.endsWith('.png'))) {
    fs.copyFileSync(path.join(root, 'images', file), path.join(stage, 'images', file));
  }
}

// tfx builds the package with Microsoft's tool. That tool only warns about a task
// that a server would refuse, so warnings fail the build.
function tfx(stage) {
  const tool = path.join(root, 'node_modules', 'tfx-cli', '_build', 'tfx-cli.js');
  if (!fs.existsSync(tool)) throw new Error('tfx-cli is not installed: run npm ci first.');
  const made = path.join(stage, 'made.vsix');
  const { status, error, stdout, stderr } = spawnSync(process.execPath,
    [tool, 'extension', 'create', '--root', stage, '--manifest-globs', 'vss-extension.json', '--output-path', made, '--no-prompt', '--no-color'],
    { encoding: 'utf8', cwd: stage });
  const said = `${stdout}${stderr}`;
  if (error || status !== 0 || /warning:/i.test(said) || !fs.existsSync(made)) throw new Error(`tfx-cli failed or reported warnings:\n${said}${error ?? ''}`);
  return fs.readFileSync(made);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
