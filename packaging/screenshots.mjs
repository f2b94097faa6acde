// Renders images/screenshot-*.png for the Marketplace from real output: it runs
// the demo, and renders with headless Chromium the demo's output, the log of a
// refused step and the summary of a successful one. It also renders docs/card-*.png,
// the approver's cards that the tests of the program compare, in which only the times
// are made up.
//
//   node packaging/screenshots.mjs DEMO PROGRAM
//
// Set CHROMIUM to the browser's path if it is not found automatically.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findBrowser } from './browser.mjs';
import { ansiToHTML, commandsToHTML, markdownToHTML } from './render.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

function main() {
  const [demo, program] = process.argv.slice(2);
  if (!program) throw new Error('Usage: node packaging/screenshots.mjs DEMO PROGRAM');
  const browser = findBrowser();
  if (!browser) throw new Error('Chromium was not found: install it, or set CHROMIUM to its path.');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'acrpromote-screens-'));
  try {
    const kept = path.join(folder, 'kept');
    const printed = tell(demo, kept, program);
    const steps = fs.readdirSync(kept).sort().map((name) => {
      const at = path.join(kept, name);
      const read = (file) => fs.readFileSync(path.join(at, file), 'utf8');
      return { result: JSON.parse(read('result.json')), log: read('log.txt'), summary: read(fs.readdirSync(at).find((each) => each.endsWith('.md'))) };
    });
    const refused = steps.find(({ result }) => result.refusals?.some(({ rule }) => rule === 'requester-approved'));
    const done = steps.find(({ result }) => result.action === 'invertedPush' && result.outcome === 'done' && result.changed);
    const draw = (name, width, body) => screenshot(browser, folder, path.join(root, 'images', `screenshot-${name}.png`), width, body);
    draw('summary', 1180, `<div class="page">${markdownToHTML(done.summary)}</div>`);
    draw('refusal', 1000, `<div class="log">${commandsToHTML(refused.log)}</div>`);
    draw('demo', 900, `<div class="terminal">${ansiToHTML(printed)}</div>`);
    for (const [name, page] of [['patch', 'page'], ['base', 'page'], ['rollback', 'page dark']]) {
      const card = fs.readFileSync(path.join(root, 'cmd', 'acrpromote', 'testdata', `card-${name}.md.golden`), 'utf8').replaceAll('TIME, AGE', '2026-03-01 08:00 UTC, 9 days ago');
      // A reader of the page would open the details of what differs.
      const html = markdownToHTML(card).replaceAll(/<details>(?=<summary>(?:Image configuration|Packages))/g, name === 'base' ? '<details open>' : '<details>');
      screenshot(browser, folder, path.join(root, 'docs', `card-${name}.png`), 760, `<div class="${page}">${html}</div>`);
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

// tell runs the demo and returns its output. If `script` is available, the demo
// runs on a pseudo-terminal, so that its output has colors.
function tell(demo, kept, program) {
  const quoted = [demo, '--keep', kept, program].map((each) => `'${each.replaceAll("'", "'\\''")}'`).join(' ');
  const coloured = process.platform === 'linux' && spawnSync('script', ['--version']).status === 0;
  const { status, stdout, stderr } = coloured
    ? spawnSync('script', ['-qefc', quoted, '/dev/null'], { encoding: 'utf8', env: { ...process.env, TERM: 'xterm' } })
    : spawnSync(demo, ['--keep', kept, program], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`The demo failed:\n${stdout}${stderr}`);
  // The first lines are about building the image.
  return stdout.slice(Math.max(stdout.search(/(\x1b\[1m)?acrpromote \d/), 0)).trimEnd();
}

const STYLE = `
* { box-sizing: border-box; }
html, body { margin: 0; background: #eef1f4; }
body { padding: 24px; }
body > div { border-radius: 6px; overflow: hidden; }
.log, .terminal { font: 13px/1.5 "DejaVu Sans Mono", Consolas, Menlo, monospace; white-space: pre-wrap; padding: 18px 22px; color: #d8dee6; background: #14202b; }
.error { color: #ff8a80; } .warning { color: #ffd166; }
.b { font-weight: bold; color: #ffffff; } .f { color: #8b98a5; } .r { color: #ff8a80; } .g { color: #7ddc8a; } .y { color: #ffd166; }
.page { font: 15px/1.5 "Segoe UI", "DejaVu Sans", Arial, sans-serif; color: #1f2933; background: #ffffff; padding: 12px 28px 20px; border: 1px solid #d5dbe1; }
.page h2 { font-size: 22px; margin: 12px 0; } .page h3 { font-size: 17px; margin: 18px 0 8px; }
.page table { border-collapse: collapse; font-size: 13px; } .page th, .page td { border: 1px solid #d5dbe1; padding: 5px 9px; text-align: left; }
.page th { background: #f2f5f7; } code { font: 12px "DejaVu Sans Mono", Consolas, Menlo, monospace; }
.page pre { font: 14px "DejaVu Sans Mono", Consolas, Menlo, monospace; background: #f2f5f7; padding: 10px 14px; margin: 10px 0; }
.page table { max-width: 100%; } .page td { overflow-wrap: anywhere; }
summary { margin-top: 14px; color: #33506b; cursor: default; }
.page.dark { color: #e1e6eb; background: #1b1f24; border-color: #3a424b; }
.dark th, .dark td { border-color: #3a424b; } .dark th, .dark pre { background: #262c33; } .dark summary { color: #9cc4ea; }
`;

function screenshot(browser, folder, file, width, body) {
  const html = path.join(folder, 'screen.html');
  fs.writeFileSync(html, `<!doctype html><meta charset="utf-8"><style>${STYLE}</style><body>${body}<script>document.title = Math.ceil(document.body.getBoundingClientRect().height)</script>`);
  const start = (...more) => {
    const options = ['--headless', '--disable-gpu', '--hide-scrollbars', `--user-data-dir=${path.join(folder, 'profile')}`, ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])];
    const { status, stdout, stderr, error } = spawnSync(browser, [...options, ...more, pathToFileURL(html).href], { encoding: 'utf8', timeout: 60_000 });
    if (error || status !== 0) throw new Error(`${browser} failed to render ${file}: ${error?.message ?? stderr}`);
    return stdout;
  };
  const height = Number(/<title>(\d+)<\/title>/.exec(start('--dump-dom', `--window-size=${width},400`))?.[1]);
  if (!height) throw new Error(`${browser} did not report the height of ${file}.`);
  start(`--screenshot=${file}`, `--window-size=${width},${height}`);
  process.stdout.write(`${path.relative(root, file)} ${width}x${height}, ${fs.statSync(file).size} bytes\n`);
}

try {
  main();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
