// Timelines and attachments of runs, as the API returns them.
export const TASK = '56008342-22ae-4f13-a595-0d62e2fb4092';
export const OTHER_TASK = 'd9bafed4-0b18-4f58-968d-86655b4d2ce9';
export const PROJECT = '6ce954b1-ce1f-45d1-b94d-e6bf2464ba2c';
export const BUILD = 4711;

// guid returns a different id for each number.
export const guid = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
export const TIMELINE = guid(1);

const at = (minute) => (minute === undefined ? null : new Date(Date.UTC(2026, 10, 23, 11, minute)).toISOString().replace('.000Z', '.1234567Z'));

// records returns those of a step with its job, phase and stage. n makes the ids.
export function records(n, { stage = 'Production', job = 'Push', name = 'Inverted push', task = TASK, attempt = 1, state = 'completed', result = 'succeeded', minute = 30, previous = [] } = {}) {
  const record = (id, parentId, type, more) => ({ id: guid(id), parentId: parentId ? guid(parentId) : null, type, attempt, state, result: state === 'completed' ? result : null, previousAttempts: [], order: 1, task: null, ...more });
  return [
    record(n + 3, n + 2, 'Task', { name, task: task && { id: task, name: 'AcrPromote', version: '1.1.0' }, attempt: 1, startTime: state === 'pending' ? null : at(minute), finishTime: state === 'completed' ? at(minute + 1) : null }),
    record(n + 2, n + 1, 'Job', { name: job, identifier: `${stage}.${job}.__default` }),
    record(n + 1, n, 'Phase', { name: job, identifier: `${stage}.${job}` }),
    record(n, 0, 'Stage', { name: stage, identifier: stage, previousAttempts: previous }),
  ];
}

export const stepId = (n) => guid(n + 3);

export const timeline = (parts, id = TIMELINE) => ({ id, changeId: 7, records: parts.flat() });

export const attachment = (record, { name = 'report', timelineId = TIMELINE, build = BUILD, type = 'acrpromote.report', root = 'https://dev.azure.com/contoso' } = {}) => ({
  name, _links: { self: { href: `${root}/${PROJECT}/_apis/build/builds/${build}/${timelineId}/${record}/attachments/${type}/${encodeURIComponent(name)}` } },
});
