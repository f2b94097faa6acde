// What the tab shows, decided from what the API returned. Nothing here requests or draws.

export const REPORT = 'acrpromote.report';
export const MAX_STEPS = 100;
export const MAX_ATTEMPTS = 20;
const MAX_REPORTS = 5; // of one step
const LONGEST = 200; // characters of a name

const GUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const PLACE = new RegExp(`/_apis/build/builds/([0-9]+)/(${GUID})/(${GUID})/attachments/${REPORT.replace('.', '\\.')}/[^/]+$`, 'i');

const list = (value) => (Array.isArray(value) ? value.filter((each) => each !== null && typeof each === 'object') : []);
const id = (value) => (typeof value === 'string' ? value.toLowerCase() : '');
const number = (value) => (Number.isSafeInteger(value) ? value : 1);

// Control and formatting characters, and those that are blank, could hide or reorder text.
// The selector of an emoji's style does neither.
const INVISIBLE = /(?!\ufe0f(?<=\p{Extended_Pictographic}\ufe0f))[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u202f\u2800]/gu;

// More marks on one letter than any script has would cover the lines above and below.
const STACKED = /(\p{M}{6})\p{M}+/gu;

// visible returns a name as text for a page.
export function visible(value) {
  const text = typeof value === 'string' ? value : '';
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return cut.replace(STACKED, '$1…').replace(INVISIBLE, (c) => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u203a`);
}

// time returns milliseconds, or NaN where the server has none: it writes the year 1.
function time(value) {
  const at = Date.parse(typeof value === 'string' ? value : '');
  return at > 0 ? at : NaN;
}

// earlierTimelines returns the ids of the timelines of earlier attempts, newest first.
export function earlierTimelines(timeline) {
  const attempts = new Map();
  for (const record of list(timeline?.records)) {
    for (const { timelineId, attempt } of list(record.previousAttempts)) {
      const key = id(timelineId);
      if (new RegExp(`^${GUID}$`).test(key) && key !== id(timeline.id)) attempts.set(key, Math.max(number(attempt), attempts.get(key) ?? 0));
    }
  }
  return [...attempts].sort(([, a], [, b]) => b - a).slice(0, MAX_ATTEMPTS).map(([key]) => key);
}

// stepsOf returns the steps of the task in the timelines of a run, the newest first, and
// how many older ones there are. A report counts only under a record of a step whose task
// has this id: a pipeline's author chooses all names.
export function stepsOf(timelines, attachments, taskId, buildId) {
  const steps = new Map();
  for (const timeline of timelines) {
    const records = new Map(list(timeline?.records).map((record) => [id(record.id), record]));
    for (const [key, record] of records) {
      if (record.type !== 'Task' || id(record.task?.id) !== id(taskId)) continue;
      const step = stepOf(key, record, records);
      // A job that was not run again is in the timelines of later attempts, too.
      if (!(steps.get(key)?.attempt <= step.attempt)) steps.set(key, step);
    }
  }
  const known = new Set(timelines.map((timeline) => id(timeline?.id)));
  for (const attachment of list(attachments)) {
    const place = placeOf(attachment, buildId);
    if (place && known.has(place.timeline)) steps.get(place.record)?.reports.push(place);
  }
  for (const step of steps.values()) {
    // Those of a step that was tried again end in a number.
    step.reports = step.reports.sort((a, b) => b.name.localeCompare(a.name, 'en', { numeric: true })).slice(0, MAX_REPORTS);
  }
  const sorted = [...steps.values()].sort(newestFirst);
  return { steps: sorted.slice(0, MAX_STEPS), older: Math.max(sorted.length - MAX_STEPS, 0) };
}

function stepOf(key, record, records) {
  const parents = {};
  let attempt = number(record.attempt);
  // The number of turns is bounded: parents could be a ring.
  for (let at = records.get(id(record.parentId)), turns = 0; at && turns < 10; at = records.get(id(at.parentId)), turns += 1) {
    parents[at.type] ??= at;
    attempt = Math.max(attempt, number(at.attempt));
  }
  // The one stage of a pipeline without stages has no name of its own.
  const named = (parent) => (parent && parent.identifier !== '__default' && parent.name !== '__default' ? visible(parent.name) : '');
  return {
    key, attempt,
    stage: named(parents.Stage), job: named(parents.Job), name: visible(record.name),
    group: `${id(parents.Stage?.id)} ${attempt}`,
    order: Number.isFinite(record.order) ? record.order : 0,
    started: time(record.startTime), finished: time(record.finishTime),
    status: statusOf(record), reports: [],
  };
}

function newestFirst(a, b) {
  const [first, second] = [a, b].map(({ started }) => (Number.isNaN(started) ? Infinity : started));
  return first === second ? b.attempt - a.attempt || b.order - a.order || (a.key < b.key ? -1 : 1) : second - first;
}

const RESULTS = {
  succeeded: ['good', 'Succeeded'],
  succeededWithIssues: ['warn', 'Succeeded with issues'],
  failed: ['bad', 'Failed'],
  canceled: ['left', 'Canceled'],
  skipped: ['left', 'Skipped'],
  abandoned: ['left', 'Abandoned'],
};

function statusOf({ state, result }) {
  if (state === 'completed') {
    const [kind, words] = (Object.hasOwn(RESULTS, result) && RESULTS[result]) || ['left', 'Ended'];
    return { kind, words, ended: true };
  }
  return state === 'inProgress' ? { kind: 'open', words: 'Running', ended: false } : { kind: 'open', words: 'Not started', ended: false };
}

// placeOf returns where an attachment is, or undefined if its link is not one of this run.
function placeOf({ name, _links: links }, buildId) {
  const href = links?.self?.href;
  // In an address, one dot or two would stand for a folder.
  if (typeof name !== 'string' || /^\.{0,2}$/.test(name) || typeof href !== 'string' || !URL.canParse(href)) return undefined;
  const [, build, timeline, record] = PLACE.exec(new URL(href).pathname) ?? [];
  return Number(build) === buildId ? { name, timeline: id(timeline), record: id(record) } : undefined;
}

// groupsOf puts steps into groups by stage and attempt. Groups have the order of their
// newest steps.
export function groupsOf(steps) {
  const groups = new Map();
  for (const step of steps) {
    if (!groups.has(step.group)) groups.set(step.group, { key: step.group, stage: step.stage, attempt: step.attempt, steps: [] });
    groups.get(step.group).steps.push(step);
  }
  return [...groups.values()];
}

export function groupTitle({ stage, attempt }) {
  const place = stage === '' ? 'Steps' : `Stage ${stage}`;
  return attempt > 1 ? `${place}, attempt ${attempt}` : place;
}

// Words

// withoutReport returns why a step shows no report.
export function withoutReport({ status }) {
  if (status.words === 'Skipped') return 'The step was skipped: there is no report.';
  if (status.ended) return 'The step left no report: it was canceled, it has publish: false, or the version of the task is older than reports.';
  return status.words === 'Running' ? 'The step is running. Its report appears here when it ends.' : 'The step has not started.';
}

// summary returns what is known about the whole run, or '' if steps are shown and
// nothing is awaited.
export function summary(count, older, completed) {
  if (count === 0) return completed ? 'This run has no AcrPromote step.' : 'No AcrPromote step has started yet. This page refreshes itself while the run goes on.';
  const parts = [];
  if (!completed) parts.push('The run goes on: this page refreshes itself.');
  if (older > 0) parts.push(`${older === 1 ? 'One older step is' : `${older} older steps are`} not shown.`);
  return parts.join(' ');
}

// Failure is why something could not be read. A temporary one is tried again.
export class Failure extends Error {
  constructor(message, { temporary = false, after = 0 } = {}) {
    super(message);
    this.temporary = temporary;
    this.after = after;
  }
}

const ADMIN = 'If it persists, ask an administrator whether the extension waits for approval of its scope vso.build: Organization settings, Extensions.';

// refusal returns the failure for a response that is not a success.
export function refusal(status, retryAfter) {
  // Instead of 401, a page to sign in may come with 203.
  if (status === 401 || status === 203) return new Failure(`Azure DevOps did not accept the sign-in (${status}). Reload the page. ${ADMIN}`);
  if (status === 403) return new Failure(`Azure DevOps denied access (403). It takes the permission View builds on this pipeline. ${ADMIN}`);
  if (status === 404) return new Failure('Azure DevOps did not find it (404): it was deleted, or you may not see it.');
  const seconds = Number(retryAfter);
  const after = seconds > 0 ? Math.min(seconds, 300) * 1000 : 0;
  if (status === 429) return new Failure('Azure DevOps limits the number of requests (429).', { temporary: true, after });
  return new Failure(`Azure DevOps returned an error (${status}).`, { temporary: status >= 500, after });
}

export const TOO_LARGE = 'The report is too large to be shown here. Download it from the artifacts of the run.';

// Refreshing

const SHORTEST = 3000;
const MAX_FAILURES = 8;

// nextDelay returns the milliseconds until the next reading, or undefined if there is
// none. What does not change is read less often: an approval can take days.
export function nextDelay(previous, { completed, changed, failure, failures }) {
  if (failure) return failure.temporary && failures < MAX_FAILURES ? Math.max(failure.after, Math.min(SHORTEST * 2 ** failures, 60_000)) : undefined;
  if (completed) return undefined;
  return changed || previous === undefined ? SHORTEST : Math.min(previous * 1.5, 60_000);
}

// The report in its frame

// The frame has no origin, and this policy goes before the report's own: whatever the
// attachment contains, it can load and send nothing.
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

// framed returns the document for the frame.
export const framed = (html, dark) => `<!DOCTYPE html><html data-theme="${dark ? 'dark' : 'light'}"><meta http-equiv="Content-Security-Policy" content="${POLICY}">${html}`;

// heightOf returns the height that a report asks for, or undefined.
export function heightOf(message) {
  const height = message !== null && typeof message === 'object' ? message.acrpromoteHeight : undefined;
  return Number.isFinite(height) ? Math.min(Math.max(Math.ceil(height), 100), 50_000) : undefined;
}

// isDark reports whether a color, as getComputedStyle returns it, is dark.
export function isDark(color) {
  const [r, g, b, alpha = 1] = (/^rgba?\(([^)]*)\)$/.exec(color)?.[1] ?? '').split(/[\s,/]+/).map(Number);
  return alpha > 0 && 0.2126 * r + 0.7152 * g + 0.0722 * b < 128;
}
