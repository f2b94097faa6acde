// The tab in a real browser, in a stand-in for the page of Azure DevOps. Without Chromium
// the tests are skipped, unless REQUIRE_BROWSER=1; steps.test.mjs tests what the tab
// decides without one.
//
// ACRPROMOTE_PROGRAM names the program that makes the reports; without it, one is built.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBrowser, launch } from '../../packaging/browser.mjs';
import { attachment, guid, OTHER_TASK, records, stepId, timeline } from './run.mjs';
import { DARK, LIGHT, standIn } from './standin.mjs';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const browserPath = findBrowser();

if (!browserPath) {
  test('the tab in a browser', (t) => {
    if (process.env.REQUIRE_BROWSER === '1') assert.fail('Chromium was not found: install it, or set CHROMIUM to its path.');
    t.skip('Chromium was not found, so the tab was not looked at in a browser: install it, or set CHROMIUM to its path');
  });
}

describe('the tab in a browser', { skip: !browserPath }, () => {
  let browser;
  let folder;
  let site;
  let report;

  before(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'acrpromote-tab-'));
    let program = process.env.ACRPROMOTE_PROGRAM;
    if (!program || !fs.existsSync(program)) {
      program = path.join(folder, 'acrpromote');
      execFileSync('go', ['build', '-o', program, './cmd/acrpromote'], { cwd: root });
    }
    report = Object.fromEntries(['flow', 'plan', 'refused'].map((name) => {
      const file = path.join(root, 'internal', 'report', 'testdata', `${name}.json.golden`);
      return [name, execFileSync(program, ['report', file, '--html'], { encoding: 'utf8' })];
    }));
    site = await standIn(folder);
    browser = await launch(browserPath);
  });

  after(async () => {
    await browser?.close();
    await site?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  // show opens the tab, and returns the page around it and the tab.
  async function show({ options, ...served }, window) {
    site.serve(served);
    const around = await browser.open(window);
    await around.go(site.address(options));
    return { around, tab: await around.frame(`location.pathname === '/index.html' && document.querySelector('#steps')`) };
  }

  const words = (frame, selector) => frame.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((e) => e.innerText.replace(/\\s+/g, ' ').trim())`);
  const status = (text) => `document.getElementById('status').innerText.includes(${JSON.stringify(text)})`;
  const drawn = `document.documentElement.dataset.ready === 'true'`;

  async function violations(frame) {
    await frame.evaluate(axe);
    return frame.evaluate(`axe.run(document, { resultTypes: ['violations'], iframes: false }).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.slice(0, 3).map(({ html, failureSummary }) => html.slice(0, 200) + ' ' + failureSummary).join(' | ')))`);
  }

  // quiet checks that nothing was requested elsewhere, and nothing was complained about.
  function quiet({ around }, complaints = []) {
    const elsewhere = around.seen.requests.filter((url) => /^https?:/.test(url) && !site.origins.includes(new URL(url).origin));
    assert.deepEqual(elsewhere, []);
    assert.deepEqual(site.elsewhere, []);
    assert.deepEqual(around.seen.dialogs, []);
    assert.deepEqual(around.seen.console.filter((text) => !complaints.some((each) => each.test(text))), []);
  }

  const earlier = guid(2);
  const usual = {
    run: () => ({
      status: 'completed',
      timelines: [
        timeline([
          records(50, { stage: 'Plan', job: 'Plan', name: 'Plan the inverted push', minute: 5 }),
          records(200, { minute: 30, attempt: 2, previous: [{ attempt: 1, timelineId: earlier, recordId: guid(100) }] }),
          records(300, { stage: 'Test', name: 'Run tests', task: OTHER_TASK, minute: 50 }),
        ]),
        timeline([records(100, { minute: 20, result: 'failed' })], earlier),
      ],
      attachments: [attachment(stepId(50)), attachment(stepId(200)), attachment(stepId(300)), attachment(stepId(100), { timelineId: earlier })],
    }),
    reports: {},
  };
  before(() => Object.assign(usual.reports, { [stepId(50)]: report.plan, [stepId(200)]: report.flow, [stepId(100)]: report.refused, [stepId(300)]: '<h1>Not ours</h1>' }));

  test('the reports by stage and attempt, by keyboard', async () => {
    const shown = await show(usual);
    const { around, tab } = shown;
    await tab.until(`document.querySelector('iframe')`);
    assert.deepEqual(await words(tab, 'h1, h2'), ['Promotion reports', 'Stage Production, attempt 2', 'Stage Production', 'Stage Plan']);
    assert.deepEqual(await words(tab, 'summary'), [
      'Succeeded Inverted push job Push 2026-11-23 11:31 UTC', 'Failed Inverted push job Push 2026-11-23 11:21 UTC', 'Succeeded Plan the inverted push job Plan 2026-11-23 11:06 UTC',
    ]);
    assert.equal(await tab.evaluate(status('')), true);
    const newest = await around.frame(`document.title.startsWith('Inverted push: done') && ${drawn}`);
    assert.equal(await newest.evaluate('origin'), 'null');
    // The frame is as high as its report, so that it does not scroll.
    await tab.until(`document.querySelector('iframe').clientHeight > 1000`);
    await newest.until('document.documentElement.scrollHeight === document.documentElement.clientHeight');
    assert.deepEqual(await tab.evaluate(`[...document.querySelectorAll('iframe')].map((e) => [e.getAttribute('sandbox'), e.title])`), [['allow-scripts', 'Report of Inverted push']]);
    assert.deepEqual(await violations(tab), []);

    assert.deepEqual(await words(tab, '#index li'), ['Succeeded Stage Production, attempt 2: Inverted push', 'Failed Stage Production: Inverted push', 'Succeeded Stage Plan: Plan the inverted push']);
    await tab.evaluate(`document.querySelectorAll('#index button')[1].focus()`);
    await around.press('Enter');
    assert.equal(await tab.evaluate(`document.activeElement === document.querySelectorAll('summary')[1] && document.activeElement.getBoundingClientRect().top < innerHeight`), true);
    await around.frame(`document.title.startsWith('Inverted push: refused') && ${drawn}`);
    await around.press('Tab', { shift: true });
    await tab.until(`document.activeElement.tagName === 'IFRAME'`);
    await tab.evaluate(`document.querySelectorAll('summary')[2].focus()`);
    await around.press(' ');
    await around.frame(`document.title.startsWith('Plan') && ${drawn}`);
    assert.equal(site.requests.filter((each) => /\/attachments\/acrpromote\.report\/report$/.test(each)).length, 3);
    assert.ok(!site.requests.some((each) => each.includes(stepId(300))));
    // The run has completed: nothing is read again.
    assert.equal(site.requests.filter((each) => each.endsWith('/4711')).length, 1);
    quiet(shown);
    await around.close();
  });

  test('a run that goes on: waiting, then the report', async () => {
    let stage = 0;
    const shown = await show({
      ...usual,
      run: () => [
        { status: 'notStarted', timelines: [], attachments: [] },
        { status: 'inProgress', timelines: [timeline([records(200, { state: 'inProgress' })])], attachments: [] },
        { status: 'completed', timelines: [timeline([records(200)])], attachments: [attachment(stepId(200))] },
      ][stage],
    });
    const { around, tab } = shown;
    await tab.until(status('No AcrPromote step has started yet.'));
    assert.deepEqual(await violations(tab), []);
    stage = 1;
    await tab.until(`document.querySelector('summary')?.innerText.startsWith('Running')`);
    assert.equal(await tab.evaluate(status('The run goes on')), true);
    await tab.evaluate(`document.querySelector('details').open = true`);
    await tab.until(`document.querySelector('.body').innerText.includes('appears here when it ends')`);
    stage = 2;
    await around.frame(`document.title.startsWith('Inverted push: done') && ${drawn}`);
    await tab.until(`document.getElementById('status').innerText === ''`);
    const before = site.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 3300));
    assert.equal(site.requests.length, before);
    // A stage that runs again is read again.
    stage = 1;
    await around.evaluate(`host.changed[0](${JSON.stringify({ id: 4711 })})`);
    await tab.until(status('The run goes on'));
    quiet(shown);
    await around.close();
  });

  test('runs without a report', async () => {
    const wait = async (run, text) => {
      const shown = await show({ ...usual, run });
      await shown.tab.until(status(text));
      const found = [await words(shown.tab, 'summary'), await shown.tab.evaluate(`document.querySelectorAll('iframe').length`)];
      quiet(shown);
      await shown.around.close();
      return found;
    };
    // Only the type and the name of the attachment are ours.
    const other = { status: 'completed', timelines: [timeline([records(300, { name: 'AcrPromote', task: OTHER_TASK })])], attachments: [attachment(stepId(300))] };
    assert.deepEqual(await wait(() => other, 'This run has no AcrPromote step.'), [[], 0]);
    assert.ok(!site.requests.some((each) => each.includes('/attachments/acrpromote.report/')));
    assert.deepEqual(await wait(() => ({ status: 'completed', timelines: [timeline([])], attachments: [] }), 'This run has no AcrPromote step.'), [[], 0]);
    const without = { status: 'completed', timelines: [timeline([records(200, { result: 'canceled' })])], attachments: [] };
    const shown = await show({ ...usual, run: () => without });
    await shown.tab.until(`document.querySelector('details')`);
    await shown.tab.evaluate(`document.querySelector('details').open = true`);
    await shown.tab.until(`document.querySelector('.body').innerText.startsWith('The step left no report')`);
    await shown.around.close();
  });

  test('hostile names and a hostile report', async () => {
    const script = '</script><script>alert(1)</script>';
    const name = `<img src=x onerror=alert(1)>${script}\u202e${'w'.repeat(3000)}`;
    const hostile = `<!DOCTYPE html><title>hostile</title><p id=p>here</p><a id=a href="${site.other}/a">a</a><a id=b target=_blank href="${site.other}/b">b</a><form id=f action="${site.other}/f"></form>
      <img src="${site.other}/i"><link rel=stylesheet href="${site.other}/s"><iframe src="${site.other}/n"></iframe><script src="${site.other}/x"></script>
      <meta http-equiv=refresh content="0;url=${site.other}/r"><script>
      const tries = [() => alert(1), () => fetch('${site.other}/q'), () => new WebSocket('${site.other.replace('http', 'ws')}/'), () => navigator.sendBeacon('${site.other}/c'), () => parent.document.body.remove(), () => top.document.body.remove(),
        () => open('${site.other}/o'), () => f.submit(), () => a.click(), () => b.click(), () => { top.location = '${site.other}/t'; }, () => { parent.location = '${site.other}/t'; }, () => localStorage.x,
        () => parent.postMessage({ acrpromoteHeight: 1e12 }, '*'), () => parent.postMessage('{"id":1,"instanceId":"DevOps.SdkClient","methodName":"dispatchEvent","params":["themeApplied"]}', '*'),
        () => top.postMessage('{"id":99,"methodName":"getAccessToken","instanceId":"DevOps.HostControl","params":[]}', '*')];
      window.results = tries.map((each) => { try { return String(each()); } catch (error) { return error.name; } });
      setTimeout(() => { location = '${site.other}/l'; }, 300);
      </script>`;
    const shown = await show({
      run: () => ({ status: 'completed', timelines: [timeline([records(200, { stage: name, job: name, name })])], attachments: [attachment(stepId(200), { name: '../../x?y#z "<b>' })] }),
      reports: { [stepId(200)]: hostile },
    });
    const { around, tab } = shown;
    await tab.until(`document.querySelector('iframe')`);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.deepEqual(await tab.evaluate(`[...new Set([...document.querySelectorAll('#steps *')].map((e) => e.localName))].sort()`), ['details', 'div', 'h2', 'iframe', 'section', 'span', 'strong', 'summary', 'time']);
    assert.match((await words(tab, 'strong'))[0], /^<img src=x onerror=alert\(1\)><\/script><script>alert\(1\)<\/script>‹U\+202E›w+…$/);
    assert.equal(await tab.evaluate(`document.querySelector('iframe').clientHeight`), 50_000);
    assert.equal(await tab.evaluate('location.pathname'), '/index.html');
    assert.equal(await around.evaluate('document.title'), 'Run 20261123.1');
    // The host has given its token for the requests of the tab alone: one for each.
    assert.equal(await around.evaluate(`host.called.filter((each) => each === 'getAccessToken').length`), site.requests.length);
    assert.ok(!around.seen.navigations.some((url) => url.startsWith(site.other)), String(around.seen.navigations));
    quiet(shown, [/Content Security Policy|sandbox|Blocked|cross-origin|is blocked/i]);
    await around.close();
  });

  test('130 steps', async (t) => {
    const parts = Array.from({ length: 130 }, (_, i) => records(1000 + 10 * i, { minute: i % 60, name: `Step ${i}`, stage: `Stage ${i % 7}` }));
    const attachments = Array.from({ length: 130 }, (_, i) => attachment(stepId(1000 + 10 * i)));
    const started = Date.now();
    const shown = await show({ run: () => ({ status: 'completed', timelines: [timeline(parts)], attachments }), reports: Object.fromEntries(attachments.map((_, i) => [stepId(1000 + 10 * i), report.flow])) });
    await shown.tab.until(status('30 older steps are not shown.'));
    await shown.around.frame(`document.title.startsWith('Inverted push') && ${drawn}`);
    t.diagnostic(`shown in ${Date.now() - started} ms`);
    assert.equal((await words(shown.tab, 'summary')).length, 100);
    // A report is read when it is opened.
    assert.equal(site.requests.filter((each) => each.endsWith('/report')).length, 1);
    assert.deepEqual(await violations(shown.tab), []);
    quiet(shown);
    await shown.around.close();
  });

  test('reports of 10 MB and of 17 MB', async (t) => {
    const padded = (size) => report.flow.replace('</body>', `<!--${'x'.repeat(size)}--></body>`);
    const started = Date.now();
    const shown = await show({
      run: () => ({ status: 'completed', timelines: [timeline([records(200), records(300, { name: 'Larger', minute: 10 })])], attachments: [attachment(stepId(200)), attachment(stepId(300))] }),
      reports: { [stepId(200)]: padded(10 << 20), [stepId(300)]: padded(17 << 20) },
    });
    await shown.around.frame(`document.title.startsWith('Inverted push: done') && ${drawn}`);
    t.diagnostic(`10 MB shown in ${Date.now() - started} ms`);
    await shown.tab.evaluate(`document.querySelectorAll('details')[1].open = true`);
    await shown.tab.until(`document.querySelector('[role=alert]')?.innerText.startsWith('The report is too large to be shown here. Download it')`);
    quiet(shown);
    await shown.around.close();
  });

  test('errors in words', async () => {
    const complaints = [/Failed to load resource/];
    for (const [code, text, retried] of [[401, 'did not accept the sign-in (401)', false], [403, 'denied access (403)', false], [500, 'returned an error (500). Trying again in 6 seconds.', true]]) {
      let failing = true;
      const shown = await show({ ...usual, fault: (pathname) => (failing && pathname.endsWith('/timeline') ? { status: code } : undefined) });
      await shown.tab.until(status(text));
      assert.deepEqual(await violations(shown.tab), []);
      failing = false;
      if (!retried) await shown.tab.evaluate(`document.querySelector('#status button').click()`);
      await shown.around.frame(`document.title.startsWith('Inverted push: done')`);
      assert.equal(await shown.tab.evaluate(`document.getElementById('status').innerText`), '');
      quiet(shown, complaints);
      await shown.around.close();
    }
    // One of two reports of a step.
    const one = await show({
      run: () => ({ status: 'completed', timelines: [timeline([records(200)])], attachments: [attachment(stepId(200)), attachment(stepId(200), { name: 'report-2' })] }),
      reports: { [stepId(200)]: report.flow }, fault: (pathname) => (pathname.endsWith('/report-2') ? { status: 404 } : undefined),
    });
    await one.around.frame(`document.title.startsWith('Inverted push: done') && ${drawn}`);
    assert.match((await words(one.tab, '[role=alert]')).join(), /^Azure DevOps did not find it \(404\)/);
    quiet(one, complaints);
    await one.around.close();
    // Of one report.
    let failing = true;
    const shown = await show({ ...usual, fault: (pathname) => (failing && pathname.endsWith('/report') ? { status: 503 } : undefined) });
    await shown.tab.until(`document.querySelector('[role=alert]')?.innerText.startsWith('Azure DevOps returned an error (503).')`);
    assert.deepEqual(await violations(shown.tab), []);
    failing = false;
    await shown.tab.evaluate(`document.querySelector('[role=alert] button').click()`);
    await shown.around.frame(`document.title.startsWith('Inverted push: done')`);
    quiet(shown, complaints);
    await shown.around.close();
  });

  test('follows the theme, at 320 pixels', async () => {
    const shown = await show({ ...usual, options: { theme: DARK, pageService: true } }, { width: 320 });
    const { around, tab } = shown;
    const background = `getComputedStyle(document.documentElement).backgroundColor`;
    const inside = (color) => around.frame(`document.title.startsWith('Inverted push: done') && ${drawn} && ${background} === '${color}'`);
    await inside('rgb(15, 20, 25)');
    assert.equal(await tab.evaluate(background), 'rgb(32, 31, 30)');
    assert.deepEqual(await violations(tab), []);
    assert.equal(await tab.evaluate('document.documentElement.scrollWidth <= innerWidth && innerWidth <= 320'), true);
    await around.evaluate(`host.theme(${JSON.stringify(LIGHT)})`);
    const report = await inside('rgb(255, 255, 255)');
    assert.equal(await report.evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
    assert.equal(await tab.evaluate(background), 'rgb(255, 255, 255)');
    quiet(shown);
    await around.close();
  });
});
