// The links to the published documentation. Its address is the setting
// "documentation" of vss-extension.json; where it is empty, nothing links.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

// readAddress returns the address in a manifest, or ''. It fails if the address is
// not valid.
export const readAddress = (manifest) => execFileSync('go', ['run', './cmd/docaddress', manifest],
  { encoding: 'utf8', cwd: root, env: { ...process.env, GOOS: '', GOARCH: '' }, stdio: ['ignore', 'pipe', 'inherit'] });

// The pages that the help of the two tasks links to.
const PAGES = { task: 'inputs.md', gate: 'classic-release.md' };

export const documented = {
  // task returns a task.json with its links.
  task(task, folder, address) {
    if (!address) return task;
    const helpUrl = `${address}/${PAGES[folder]}`;
    return { ...task, helpUrl, helpMarkDown: `${task.helpMarkDown} [Documentation](${helpUrl})` };
  },
  // manifest returns the extension's manifest with its links, and without the
  // setting, which is the project's own.
  manifest({ documentation, ...manifest }, address) {
    if (!address) return manifest;
    const links = {
      getstarted: { uri: `${address}/install.md` },
      learn: { uri: `${address}/README.md` },
      support: { uri: `${address}/troubleshooting.md` },
    };
    return { ...manifest, links: { ...links, ...manifest.links } };
  },
};
