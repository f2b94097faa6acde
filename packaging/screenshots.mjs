// Renders images/screenshot-*.png for the Marketplace from real output, for screens of
// high density: it runs the demo, and renders with headless Chromium the demo's output,
// the log of a refused step, the summary of a successful one, and the tab with the reports
// of the demo's run. It also renders the approver's cards that the tests of the program
// compare, in which only the times are made up: one for the Marketplace, and docs/card-*.png.
//
//   node packaging/screenshots.mjs DEMO PROGRAM
//
// Set CHROMIUM to the browser's path if it is not found automatically.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { attachment, guid, records, stepId, timeline, TIMELINE } from '../tab/test/run.mjs';
import { standIn } from '../tab/test/standin.mjs';
import { findBrowser, launch } from './browser.mjs';
import { decode, withPalette } from './png.mjs';
import { ansiToHTML, commandsToHTML, markdownToHTML } from './render.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

// The Marketplace asks for 1366 x 768. Twice that is sharp on screens of high density,
// and fewer, larger letters stay readable where it shows the image smaller.
const GALLERY = { width: 1093, height: 615, scale: 2.5, clip: { x: 0, y: 0, width: 1092.8, height: 614.4, scale: 1 } };

async function main() {
  const [demo, program] = process.argv.slice(2);
  if (!program) throw new Error('Usage: node packaging/screenshots.mjs DEMO PROGRAM');
  const browser = findBrowser();
  if (!browser) throw new Error('Chromium was not found: install it, or set CHROMIUM to its path.');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'acrpromote-screens-'));
  // Frames with a process of their own would be drawn with the density of the machine.
  const opened = await launch(browser, ['--disable-site-isolation-trials', '--disable-features=IsolateSandboxedIframes']);
  try {
    const kept = path.join(folder, 'kept');
    const printed = tell(demo, kept, program);
    const steps = fs.readdirSync(kept).sort().map((name) => {
      const at = path.join(kept, name);
      const read = (file) => fs.readFileSync(path.join(at, file), 'utf8');
      return { file: path.join(at, 'result.json'), result: JSON.parse(read('result.json')), log: read('log.txt'), summary: read(fs.readdirSync(at).find((each) => each.endsWith('.md'))) };
    });
    const refused = steps.find(({ result }) => result.refusals?.some(({ rule }) => rule === 'requester-approved'));
    const done = steps.find(({ result }) => result.action === 'invertedPush' && result.outcome === 'done' && result.changed);
    const draw = (name, width, body) => screenshot(opened, folder, path.join(root, 'images', `screenshot-${name}.png`), { width, scale: 2 }, body);
    await draw('summary', 1180, `<div class="page">${markdownToHTML(done.summary)}</div>`);
    await draw('refusal', 1000, `<div class="log">${commandsToHTML(refused.log)}</div>`);
    await draw('demo', 900, `<div class="terminal">${ansiToHTML(printed)}</div>`);
    await drawTab(opened, folder, steps.filter(({ result }) => result.run.id === done.result.run.id), done);
    for (const [name, page] of [['patch', 'page'], ['base', 'page'], ['rollback', 'page dark']]) {
      const card = fs.readFileSync(path.join(root, 'cmd', 'acrpromote', 'testdata', `card-${name}.md.golden`), 'utf8').replaceAll('TIME, AGE', '2026-03-01 08:00 UTC, 9 days ago');
      // A reader of the page would open the details of what differs.
      const html = markdownToHTML(card).replaceAll(/<details>(?=<summary>(?:Image configuration|Packages))/g, name === 'base' ? '<details open>' : '<details>');
      await screenshot(opened, folder, path.join(root, 'docs', `card-${name}.png`), { width: 760 }, `<div class="${page}">${html}</div>`);
      if (name === 'patch') await screenshot(opened, folder, path.join(root, 'images', 'screenshot-card.png'), GALLERY, `${runPage('Summary', '2026-03-10')}<div class="page">${html}</div>`);
    }
  } finally {
    await opened.close();
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
.run { margin: -24px -24px 0; padding: 10px 24px 0; border-radius: 0; background: #ffffff; color: #1f2933; border-bottom: 1px solid #d5dbe1; font: 15px/1.5 "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
.run p { margin: 0; } .run span { display: inline-block; padding: 6px 2px; margin-right: 24px; } .run .chosen { font-weight: 600; border-bottom: 3px solid #0b3d66; }
.run + .page { margin-top: 20px; } .run + iframe { height: calc(100vh - 64px); }
.dark th, .dark td { border-color: #3a424b; } .dark th, .dark pre { background: #262c33; } .dark summary { color: #9cc4ea; }
`;

// runPage returns what is at the top of a run's page, in the words of the stand-in.
const runPage = (chosen, day) => `<div class="run"><p><b>release</b> · Run ${day.slice(0, 10).replaceAll('-', '')}.1</p><p>${['Summary', 'Promotion'].map((each) => `<span${each === chosen ? ' class="chosen"' : ''}>${each}</span>`).join('')}</p></div>`;

// drawTab shows the steps of the demo's run on the tab: the first attempt of a stage was
// refused, the second succeeded.
async function drawTab(browser, folder, steps, done) {
  const shown = steps.slice(0, steps.indexOf(done) + 1);
  const names = { seal: 'Seal the release candidate', plan: 'Plan the inverted push', invertedPush: 'Inverted push to the DEV registries' };
  const earlier = guid(2);
  const timelines = { [TIMELINE]: [], [earlier]: [] };
  const attachments = [];
  const reports = {};
  for (const [i, { file, result }] of shown.entries()) {
    const n = 100 + 10 * i;
    const { stage, job, attempt } = result.run;
    const last = shown.findLast((each) => each.result.run.stage === stage).result.run.attempt;
    const at = attempt < last ? earlier : TIMELINE;
    const [step, ...parents] = records(n, { stage, job, attempt, name: names[result.action], result: result.outcome === 'done' ? 'succeeded' : 'failed', previous: attempt > 1 ? [{ attempt: 1, timelineId: earlier }] : [] });
    timelines[at].push({ ...step, startTime: result.startedAt, finishTime: result.finishedAt }, ...parents);
    attachments.push(attachment(stepId(n), { timelineId: at }));
    reports[stepId(n)] = execFileSync(process.argv[3], ['report', file, '--html'], { maxBuffer: 64 << 20 });
  }
  const site = await standIn(folder, `<style>${STYLE}body { padding: 0 } body > .run { margin: 0; }</style>${runPage('Promotion', done.result.startedAt)}`);
  try {
    site.serve({ run: () => ({ status: 'completed', timelines: Object.entries(timelines).map(([id, parts]) => timeline(parts, id)), attachments }), reports });
    const tab = await browser.open(GALLERY);
    await tab.go(site.address());
    const report = await tab.frame(`parent !== top && document.documentElement.dataset.ready === 'true'`);
    const shot = (name) => capture(tab, path.join(root, 'images', `screenshot-${name}.png`), GALLERY);
    await shot('tab');
    const inside = await tab.frame(`document.getElementById('index') && parent === top`);
    const top = await report.evaluate(`document.querySelector('.picture').closest('section').getBoundingClientRect().top`);
    await inside.evaluate(`scrollTo(0, document.querySelector('iframe').getBoundingClientRect().top + ${top} - 16); new Promise((resolve) => setTimeout(resolve, 500))`);
    await shot('report');
    await tab.close();
  } finally {
    await site.close();
  }
}

async function screenshot(browser, folder, file, shape, body) {
  const html = path.join(folder, 'screen.html');
  fs.writeFileSync(html, `<!doctype html><meta charset="utf-8"><style>${STYLE}</style><body>${body}`);
  const tab = await browser.open({ height: 400, ...shape });
  await tab.go(pathToFileURL(html).href);
  await capture(tab, file, shape);
  await tab.close();
}

// capture writes what a clip, or else the whole page, shows.
async function capture(tab, file, { width, clip }) {
  const height = await tab.evaluate('Math.ceil(document.body.getBoundingClientRect().height)');
  const shoot = () => tab.call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip: clip ?? { x: 0, y: 0, width, height, scale: 1 } });
  // The first one can lack what the browser has not drawn yet.
  await shoot();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const { data } = await shoot();
  const image = withPalette(decode(Buffer.from(data, 'base64')));
  fs.writeFileSync(file, image);
  process.stdout.write(`${path.relative(root, file)} ${image.readUInt32BE(16)}x${image.readUInt32BE(20)}, ${image.length} bytes\n`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
