import assert from 'node:assert/strict';
import test from 'node:test';
import { MAX_REPORT, Service } from '../service.mjs';
import { earlierTimelines, Failure, framed, groupsOf, groupTitle, heightOf, isDark, nextDelay, refusal, stepsOf, summary, visible, withoutReport } from '../steps.mjs';
import { attachment, BUILD, guid, OTHER_TASK, PROJECT, records, stepId, TASK, timeline, TIMELINE } from './run.mjs';

const found = (timelines, attachments) => stepsOf(timelines, attachments, TASK, BUILD);
const titles = ({ steps }) => groupsOf(steps).map((group) => `${groupTitle(group)}: ${group.steps.map(({ name, status, reports }) => `${name} ${status.words} ${reports.length}`).join(', ')}`);

test('steps by stage and attempt, the newest first', () => {
  const before = timeline([records(100, { minute: 10, result: 'failed' })], guid(2));
  const now = timeline([
    records(50, { stage: 'Plan', name: 'Plan', minute: 5 }),
    records(200, { minute: 30, attempt: 2, previous: [{ attempt: 1, timelineId: guid(2), recordId: guid(100) }] }),
    records(300, { name: 'A script', task: OTHER_TASK }),
    records(350, { name: 'Checkout', task: '' }),
    records(400, { stage: 'Teams', name: 'Push', minute: 50, state: 'inProgress' }),
  ]);
  assert.deepEqual(earlierTimelines(now), [guid(2)]);
  const attachments = [
    attachment(stepId(50)), attachment(stepId(200)), attachment(stepId(300)), attachment(stepId(350)),
    attachment(stepId(100), { timelineId: guid(2) }),
  ];
  assert.deepEqual(titles(found([now, before], attachments)), [
    'Stage Teams: Push Running 0', 'Stage Production, attempt 2: Inverted push Succeeded 1', 'Stage Production: Inverted push Failed 1', 'Stage Plan: Plan Succeeded 1',
  ]);
  const reversed = timeline([...now.records].reverse());
  assert.deepEqual(found([reversed, before], attachments), found([now, before], attachments));
});

test('a job that was not run again is shown once, with the attempt that ran it', () => {
  const kept = records(100, { job: 'First' });
  const before = timeline([kept, records(200, { job: 'Second', result: 'failed' })], guid(2));
  const now = timeline([
    kept.slice(0, 3), records(300, { job: 'Second', attempt: 2 }),
    { ...kept[3], attempt: 2, previousAttempts: [{ attempt: 1, timelineId: guid(2), recordId: guid(100) }] },
  ]);
  const { steps } = found([now, before], [attachment(stepId(100))]);
  assert.deepEqual(steps.map(({ job, attempt, reports }) => `${job} ${attempt} ${reports.length}`).sort(), ['First 1 1', 'Second 1 0', 'Second 2 0']);
});

test('attachments that do not count', () => {
  const now = timeline([records(100), records(200, { task: OTHER_TASK })]);
  const reports = (...attachments) => found([now], attachments).steps[0].reports;
  assert.deepEqual(reports(attachment(stepId(100), { name: 'a b' })), [{ name: 'a b', timeline: TIMELINE, record: stepId(100) }]);
  assert.equal(reports(attachment(stepId(100).toUpperCase())).length, 1);
  for (const [why, wrong] of Object.entries({
    'another task': attachment(stepId(200)),
    'the job': attachment(guid(102)),
    'no record of the run': attachment(guid(999)),
    'another timeline': attachment(stepId(100), { timelineId: guid(9) }),
    'another run': attachment(stepId(100), { build: 4712 }),
    'another type': attachment(stepId(100), { type: 'acrpromote.seal' }),
    'a type that only begins alike': attachment(stepId(100), { type: 'acrpromote.reports' }),
    'the name of the folder above': attachment(stepId(100), { name: '..' }),
    'no link': { name: 'report' },
    'no name': { ...attachment(stepId(100)), name: undefined },
    'no address': { name: 'report', _links: { self: { href: 'builds' } } },
    'the path in the query': { name: 'report', _links: { self: { href: `https://dev.azure.com/x?${new URL(attachment(stepId(100))._links.self.href).pathname}` } } },
    'no object': 'report',
    nothing: null,
  })) assert.deepEqual(reports(wrong), [], why);
  for (const attachments of [undefined, null, {}, 'x', 1]) assert.deepEqual(found([now], attachments).steps[0].reports, []);
});

test('the reports of a step that was tried again, the last first', () => {
  const attachments = ['report', 'report-2', 'report-10', 'report-9', 'report-3', 'report-4', 'report-5'].map((name) => attachment(stepId(100), { name }));
  assert.deepEqual(found([timeline([records(100)])], attachments).steps[0].reports.map(({ name }) => name), ['report-10', 'report-9', 'report-5', 'report-4', 'report-3']);
});

test('what is not a timeline', () => {
  for (const odd of [{}, { id: 5, records: 'x' }, { records: [null, 1, 'x', {}, { type: 'Task' }, { type: 'Task', task: 'x' }] }]) {
    assert.deepEqual(found([odd], []), { steps: [], older: 0 });
    assert.deepEqual(earlierTimelines(odd), []);
  }
  const ring = records(100);
  ring[3].parentId = ring[0].id;
  ring[3].previousAttempts = [{ timelineId: '../../x', attempt: 1 }, { timelineId: TIMELINE }, null, {}];
  assert.equal(found([timeline([ring])], []).steps.length, 1);
  assert.deepEqual(earlierTimelines(timeline([ring])), []);
  const [step] = found([{ id: TIMELINE, records: [{ id: guid(5), type: 'Task', task: { id: TASK }, name: 7, attempt: 'x', startTime: '0001-01-01T00:00:00', result: '__proto__', state: 'completed' }] }], []).steps;
  assert.deepEqual([step.stage, step.job, step.name, step.attempt, step.started, step.status.words], ['', '', '', 1, NaN, 'Ended']);
});

test('a hundred steps are shown', () => {
  const parts = Array.from({ length: 130 }, (_, i) => records(1000 + 10 * i, { minute: i % 60, name: `Step ${i}`, stage: `S${i % 7}` }));
  const { steps, older } = found([timeline(parts)], []);
  assert.deepEqual([steps.length, older], [100, 30]);
  for (let i = 1; i < steps.length; i += 1) assert.ok(steps[i - 1].started >= steps[i].started);
  const attempts = Array.from({ length: 40 }, (_, i) => ({ attempt: i + 1, timelineId: guid(500 + i), recordId: guid(1) }));
  const earlier = earlierTimelines(timeline([records(100, { previous: attempts })]));
  assert.deepEqual([earlier.length, earlier[0]], [20, guid(539)]);
});

test('a pipeline without stages', () => {
  const parts = records(100, { stage: '__default', job: 'Job' });
  assert.deepEqual(titles(found([timeline([parts])], [])), ['Steps: Inverted push Succeeded 0']);
});

test('names are text', () => {
  assert.equal(visible('a\u202egnp.exe\u0000'), 'a‹U+202E›gnp.exe‹U+0000›');
  assert.equal(visible('Prod\u{e0041}\u3164\ufe0f\u2800'), 'Prod‹U+E0041›‹U+3164›‹U+FE0F›‹U+2800›');
  assert.equal(visible(`Pro${'\u0301'.repeat(50)}d`), `Pro${'\u0301'.repeat(6)}…d`);
  assert.equal(visible('Prod \u2764\ufe0f é'), 'Prod \u2764\ufe0f é');
  assert.equal(visible('w'.repeat(500)).length, 201);
  assert.equal(visible({}), '');
});

test('words for each state', () => {
  const words = (options) => withoutReport(found([timeline([records(100, options)])], []).steps[0]);
  assert.equal(words({ state: 'pending' }), 'The step has not started.');
  assert.match(words({ state: 'inProgress' }), /appears here when it ends/);
  assert.match(words({ result: 'skipped' }), /skipped/);
  for (const result of ['canceled', 'failed', 'abandoned', 'succeeded', 'new']) assert.match(words({ result }), /^The step left no report: .*publish: false/);
  assert.equal(summary(0, 0, true), 'This run has no AcrPromote step.');
  assert.match(summary(0, 0, false), /^No AcrPromote step has started yet/);
  assert.equal(summary(3, 0, true), '');
  assert.equal(summary(100, 30, true), '30 older steps are not shown.');
  assert.match(summary(100, 1, false), /refreshes itself\. One older step is not shown\.$/);
});

test('what failed is tried again only if that can help', () => {
  const again = (status) => refusal(status, null).temporary;
  assert.deepEqual([401, 203, 403, 404, 400, 302, 429, 500, 503].filter(again), [429, 500, 503]);
  for (const status of [401, 203, 403]) assert.match(refusal(status).message, /vso\.build/);
  assert.equal(refusal(429, '7').after, 7000);
  assert.equal(refusal(503, '100000').after, 300_000);
  assert.equal(refusal(503, 'soon').after, 0);
});

test('reading slows down and ends', () => {
  const next = (previous, more) => nextDelay(previous, { completed: false, changed: false, failures: 0, ...more });
  assert.equal(next(undefined), 3000);
  assert.equal(next(3000), 4500);
  assert.equal(next(50_000), 60_000);
  assert.equal(next(60_000, { changed: true }), 3000);
  assert.equal(next(3000, { completed: true, changed: true }), undefined);
  assert.equal(next(3000, { failure: new Failure('x'), failures: 1 }), undefined);
  assert.equal(next(3000, { failure: new Failure('x', { temporary: true }), failures: 1 }), 6000);
  assert.equal(next(3000, { failure: new Failure('x', { temporary: true, after: 30_000 }), failures: 1 }), 30_000);
  assert.equal(next(3000, { failure: new Failure('x', { temporary: true }), failures: 7 }), 60_000);
  assert.equal(next(3000, { failure: new Failure('x', { temporary: true }), failures: 8 }), undefined);
});

test('a report in its frame', () => {
  const html = framed('<!DOCTYPE html><p>', true);
  assert.match(html, /^<!DOCTYPE html><html data-theme="dark"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; [^"]*"><!DOCTYPE html><p>$/);
  assert.match(framed('', false), /data-theme="light"/);
  assert.deepEqual([{ acrpromoteHeight: 812.3 }, { acrpromoteHeight: 1e9 }, { acrpromoteHeight: -5 }].map(heightOf), [813, 50_000, 100]);
  for (const odd of [undefined, null, '{"acrpromoteHeight":5}', 5, {}, { acrpromoteHeight: '900' }, { acrpromoteHeight: NaN }]) assert.equal(heightOf(odd), undefined);
  assert.deepEqual(['rgb(32, 31, 30)', 'rgba(0, 0, 0, 0)', 'rgb(255, 255, 255)', 'rgb(0 0 0 / 0.5)', 'blue', ''].map(isDark), [true, false, false, true, false, false]);
});

// answering returns a fetch that answers with a status, or with a body by the path.
function answering(answer, seen = []) {
  return async (address, options) => {
    seen.push({ address, options });
    const { pathname } = new URL(address);
    const { status = 200, body = '{}', headers = {} } = answer(pathname);
    return new Response(status === 204 ? null : body, { status, headers });
  };
}

test('a run is read, and earlier attempts once', async () => {
  const before = timeline([records(100, { result: 'failed' })], guid(2));
  const now = timeline([records(200, { attempt: 2, previous: [{ attempt: 1, timelineId: guid(2), recordId: guid(100) }] })]);
  const seen = [];
  const service = new Service('https://dev.azure.com/contoso', async () => 'token', answering((path) => {
    if (path.endsWith('/attachments/acrpromote.report')) return { body: JSON.stringify({ value: [attachment(stepId(200))] }) };
    if (path.endsWith(`/timeline/${guid(2)}`)) return { body: JSON.stringify(before) };
    if (path.endsWith('/timeline')) return { body: JSON.stringify(now) };
    return path.endsWith('/builds/4711') ? { body: '{"status":"completed"}' } : { body: '<p>é' };
  }, seen));
  assert.deepEqual(await service.run(PROJECT, BUILD), { completed: true, timelines: [now, before], attachments: [attachment(stepId(200))] });
  assert.equal(seen.length, 4);
  await service.run(PROJECT, BUILD);
  assert.equal(seen.length, 7);
  assert.equal(await service.report(PROJECT, BUILD, { timeline: TIMELINE, record: stepId(200), name: 'a/b?c d' }), '<p>é');
  assert.equal(seen[7].address, `https://dev.azure.com/contoso/${PROJECT}/_apis/build/builds/4711/${TIMELINE}/${stepId(200)}/attachments/acrpromote.report/a%2Fb%3Fc%20d?api-version=7.1-preview.2`);
  for (const { address, options } of seen) {
    assert.ok(address.startsWith(`https://dev.azure.com/contoso/${PROJECT}/_apis/build/builds/4711`), address);
    assert.deepEqual([options.headers, options.redirect, options.credentials], [{ Authorization: 'Bearer token' }, 'error', 'omit']);
  }
});

test('what cannot be read', async () => {
  const failure = (answer, request = answering(() => answer)) => new Service('https://dev.azure.com/contoso/', async () => 'token', request).run(PROJECT, BUILD).then(() => assert.fail('it was read'), (error) => error);
  for (const [status, words, temporary] of [[401, /sign-in \(401\)/, false], [403, /denied access \(403\)/, false], [404, /404/, false], [500, /error \(500\)/, true], [429, /429/, true]]) {
    const error = await failure({ status, headers: { 'Retry-After': '2' } });
    assert.ok(error instanceof Failure);
    assert.match(error.message, words);
    assert.equal(error.temporary, temporary, String(status));
  }
  for (const body of ['<html>', '5', '{', '"x"']) assert.match((await failure({ body })).message, /not the expected JSON/);
  const unreached = await failure(undefined, () => Promise.reject(new TypeError('Failed to fetch')));
  assert.deepEqual([unreached.temporary, unreached.message], [true, 'Azure DevOps could not be reached, or took too long.']);
  assert.throws(() => new Service('javascript:alert(1)', async () => 'token'), Failure);
});

test('a run that has not started', async () => {
  const service = new Service('https://dev.azure.com/contoso/', async () => 'token', answering((path) => (path.endsWith('/timeline') ? { status: 204 } : { body: path.endsWith('/4711') ? '{"status":"notStarted"}' : 'null' })));
  const { completed, timelines, attachments } = await service.run(PROJECT, BUILD);
  assert.deepEqual([completed, timelines, attachments, found(timelines, attachments)], [false, [{}], undefined, { steps: [], older: 0 }]);
});

test('a report that is too large is not read to its end', async () => {
  let sent = 0;
  const endless = async () => new Response(new ReadableStream({
    pull(controller) {
      sent += 1 << 20;
      controller.enqueue(new Uint8Array(1 << 20));
    },
  }));
  const service = new Service('https://dev.azure.com/contoso/', async () => 'token', endless);
  await assert.rejects(service.report(PROJECT, BUILD, { timeline: TIMELINE, record: stepId(1), name: 'x' }), /too large to be shown here/);
  assert.ok(sent <= MAX_REPORT + (4 << 20), `${sent} bytes`);
});
