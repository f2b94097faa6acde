// Builds the tab on a run's page: bundles its scripts and the SDK into one file.
//
//   node packaging/tab.mjs FOLDER    writes the tab's files into a folder
import { build } from 'esbuild-wasm';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const LIMIT = 150 * 1000;
const SDK = path.join(root, 'node_modules', 'azure-devops-extension-sdk');

// bundleTab writes the tab's files into a folder, and returns how many bytes they have and
// which packages of others are in them.
export async function bundleTab(folder) {
  if (!fs.existsSync(SDK)) throw new Error('azure-devops-extension-sdk is not installed: run npm ci first.');
  fs.mkdirSync(folder, { recursive: true });
  const { id } = JSON.parse(fs.readFileSync(path.join(root, 'task', 'task.json'), 'utf8'));
  const { metafile } = await build({
    absWorkingDir: root, entryPoints: ['tab/main.mjs'], outfile: path.join(folder, 'tab.js'), bundle: true, minify: true,
    format: 'iife', target: 'es2022', charset: 'utf8', legalComments: 'none', logLevel: 'error', metafile: true,
    define: { TASK_ID: JSON.stringify(id) },
    banner: { js: `/* Contains azure-devops-extension-sdk.\n${fs.readFileSync(path.join(SDK, 'LICENSE'), 'utf8').replaceAll('\r', '').trim()} */` },
  });
  for (const file of ['index.html', 'tab.css']) fs.copyFileSync(path.join(root, 'tab', file), path.join(folder, file));
  const size = fs.readdirSync(folder).reduce((sum, file) => sum + fs.statSync(path.join(folder, file)).size, 0);
  if (size > LIMIT) throw new Error(`The tab has ${size} bytes; the limit is ${LIMIT}.`);
  const packages = Object.keys(metafile.inputs).map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1]).filter(Boolean);
  return { size, packages: [...new Set(packages)].sort() };
}

// billOfTab returns the bill of materials of the tab (CycloneDX).
export function billOfTab(packages, version) {
  const lock = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  const components = packages.map((name) => {
    const { version: used, integrity, license } = lock[`node_modules/${name}`];
    return {
      type: 'library', name, version: used, purl: `pkg:npm/${name.replace('@', '%40')}@${used}`,
      hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex') }],
      licenses: [{ license: { id: license } }],
    };
  });
  return { bomFormat: 'CycloneDX', specVersion: '1.6', version: 1, metadata: { component: { type: 'application', name: 'acrpromote-tab', version } }, components };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder] = process.argv.slice(2);
  if (!folder) throw new Error('Usage: node packaging/tab.mjs FOLDER');
  process.stdout.write(`${(await bundleTab(folder)).size} bytes\n`);
}
