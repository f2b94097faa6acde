'use strict';

// Draws the report from the results in the page: one line of JSON for each step, followed
// by one for each of its images. Every text goes into the page as a text node. Work is
// done in slices, so that a large set does not block the page.

const SVG = 'http://www.w3.org/2000/svg';
const SLICE = 12; // milliseconds
const LONGEST = 4000; // characters of one text; the JSON has all of it
const PRINTED = 2000; // rows of one list on paper

// Control and formatting characters, and those that are blank, could hide or reorder text.
// The selector of an emoji's style does neither.
const INVISIBLE = /(?!\n|\ufe0f(?<=\p{Extended_Pictographic}\ufe0f))[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u202f\u2800]/gu;

// More marks on one letter than any script has would cover the lines above and below.
const STACKED = /(\p{M}{6})\p{M}+/gu;

function visible(value) {
  const text = String(value ?? '');
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}… (${text.length - LONGEST} more characters)` : text;
  return cut.replace(STACKED, '$1…').replace(INVISIBLE, (c) => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u203a`);
}

const list = (value) => (Array.isArray(value) ? value : []);

// words returns a table that has nothing but its own entries, whatever is looked up in it.
const words = (entries) => Object.assign(Object.create(null), entries);


// element creates NAME.CLASS.CLASS with attributes; children are elements or texts.
function element(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  const e = document.createElement(tag);
  return fill(e, classes, attributes, children);
}

function drawing(name, attributes, ...children) {
  const [tag, ...classes] = name.split('.');
  return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(e, classes, attributes, children) {
  if (classes.length > 0) e.setAttribute('class', classes.join(' '));
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) e.setAttribute(key, value === true ? '' : visible(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === '' || child === false) continue;
    e.append(child instanceof Node ? child : visible(child));
  }
  return e;
}

const frame = () => new Promise((resolve) => setTimeout(resolve));

let sliceStarted = performance.now();

// pause lets the browser respond if this slice of work has lasted long enough.
async function pause() {
  if (performance.now() - sliceStarted < SLICE) return;
  await frame();
  sliceStarted = performance.now();
}

// Words

const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const sentence = (text) => (/[.?!…]\s*$/.test(text) || text === '' ? text : `${text}.`);
const short = (digest) => visible(digest).replace(/^(sha256:)?([0-9a-f]{12})[0-9a-f]{52}$/, '$2');
const host = (reference) => reference.split('/', 1)[0];
const where = (target) => `${target.registry}/${target.repository}${target.tag ? `:${target.tag}` : ''}`;

function size(bytes) {
  let n = bytes;
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (n < 999.5 || unit === 'TB') return `${n < 9.95 && unit !== 'B' ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1000;
  }
}

function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59_500) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  const s = Math.round(ms / 1000);
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min ${s % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z$/;

// instant returns a time in a form that sorts, or "".
function instant(time) {
  const [, second, fraction = ''] = TIME.exec(time) ?? [];
  return second ? `${second}.${fraction.padEnd(9, '0')}` : '';
}

const by = (of) => (a, b) => {
  const [x, y] = [of(a), of(b)];
  return x < y ? -1 : x > y ? 1 : 0;
};

// moment shows a time of the result, which is RFC 3339 in UTC.
function moment(time) {
  if (!TIME.test(time) || Number.isNaN(Date.parse(time))) return visible(time);
  return element('time', { datetime: time, title: new Date(time).toLocaleString() }, `${time.slice(0, 10)} ${time.slice(11, 19)} UTC`);
}

// timeColumn is a column of times, which are not in order as texts: the digits after the
// second vary in number.
const timeColumn = (title, of) => ({ title, value: of, order: (row) => instant(of(row)), draw: (row) => of(row) && moment(of(row)) });

// The states of images, artifacts and receipts, by what they mean for a reader.
const STATES = words({
  copied: 'moved', mounted: 'moved', retagged: 'moved', attached: 'moved', promoted: 'moved',
  present: 'there', planned: 'open', pending: 'open', left: 'left', refused: 'bad', failed: 'bad',
  withdrawn: 'warn', untagged: 'warn', recorded: 'left', restored: 'moved', absent: 'there',
  granted: 'moved', missing: 'bad', unchecked: 'left', high: 'bad', medium: 'warn', low: 'left', unknown: 'bad',
});
const MARKS = { moved: '✓', there: '●', open: '○', left: '–', bad: '✕', warn: '!' };
const OUTCOMES = words({ done: 'moved', partial: 'warn', cancelled: 'warn', failed: 'bad', misuse: 'bad', refused: 'bad' });

const kindOf = (state) => STATES[state] ?? 'left';

function badge(kind, text) {
  if (text === '') return '';
  return element(`span.badge.${kind}${text.length < 24 ? '.whole' : ''}`, {}, text);
}

const ACTIONS = words({
  seal: 'Seal', promote: 'Promote', invertedPush: 'Inverted push', plan: 'Plan', verify: 'Verify', audit: 'Audit',
  verifyReceipt: 'Verify receipt', trace: 'Trace', doctor: 'Doctor', recall: 'Recall', check: 'Check of a flow file', '': 'acrpromote',
});

const actionOf = (r) => (ACTIONS[r.action] ?? visible(r.action)) + (r.dryRun ? ' (dry run)' : '');

// stepName tells the steps of a report apart.
function stepName(r) {
  const place = [r.run.stage, r.run.job].filter(Boolean).join(' / ');
  return actionOf(r) + (place ? `, ${place}` : '') + (r.run.attempt > 1 ? `, attempt ${r.run.attempt}` : '');
}

// current returns the steps without those of which there is a later attempt.
function current(steps) {
  const last = new Map();
  const key = ({ run, action }) => JSON.stringify([run.organization, run.project, run.id, run.stage, run.job, action]);
  for (const { result: r } of steps) last.set(key(r), Math.max(last.get(key(r)) ?? 0, r.run.attempt));
  return steps.filter(({ result: r }) => r.run.attempt === last.get(key(r)));
}

// link shows an address as text that leads there. Only the text of a web address becomes
// a link.
function link(address, text = address) {
  return /^https:\/\/[^\s\\@]+$/.test(address) ? element('a', { href: address, rel: 'noreferrer noopener', target: '_blank' }, text) : visible(text);
}

// Parts of the page

function section(title, ...content) {
  const parts = content.flat(Infinity).filter(Boolean);
  if (parts.length === 0) return null;
  const id = title.toLowerCase().replace(/[^a-z]+/g, '-');
  return element('section', { 'aria-labelledby': id }, element('h2', { id }, title), parts);
}

// facts lists names with values, without those that have none.
function facts(pairs) {
  const shown = pairs.filter(([, value]) => value && value.length !== 0);
  return shown.length > 0 && element('dl.facts', {}, shown.map(([name, value, wide]) => element(wide ? 'div.wide' : 'div', {}, element('dt', {}, name), element('dd', {}, value))));
}

const unprinted = []; // functions that prepare the page for paper, and return what undoes it

// growing appends what draw returns for each item: the first ones now, the others when a
// button is pressed.
function growing(into, items, draw, first) {
  let shown = 0;
  const more = element('button.more', { type: 'button' });
  const cut = element('p.cut', {});
  const upTo = (n) => {
    for (; shown < Math.min(n, items.length); shown += 1) into.append(draw(items[shown]));
    const left = items.length - shown;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(left, first * 2).toLocaleString('en')} more of ${left.toLocaleString('en')}`;
    cut.textContent = left > 0 ? `… and ${left.toLocaleString('en')} more; result.json lists them all.` : '';
  };
  more.addEventListener('click', () => {
    const at = shown;
    upTo(shown + first * 2);
    const next = into.children[at];
    if (next) {
      next.tabIndex = -1;
      next.focus({ preventScroll: true });
    }
  });
  const show = (changed) => {
    items = changed;
    shown = 0;
    into.replaceChildren();
    upTo(first);
  };
  unprinted.push(() => {
    const before = shown;
    upTo(Math.max(shown, PRINTED));
    return () => {
      while (into.children.length > before) into.lastChild.remove();
      shown = before;
      upTo(before);
    };
  });
  upTo(first);
  return { parts: [more, cut], show };
}

let tables = 0;

// table lists rows. Each column has a title, value(row) to sort and filter by, and draw(row)
// if a cell shows more than the value. Long tables have a filter, and a choice for each
// column with `choose`, even if the column itself is hidden.
function table(caption, columns, rows) {
  if (rows.length === 0) return null;
  tables += 1;
  const id = `table-${tables}`;
  const used = columns.filter((c) => !c.hidden && (c.always || rows.some((row) => c.value(row) !== '' && c.value(row) !== undefined)));
  const body = element('tbody', { role: 'rowgroup' });
  const draw = (row) => element('tr', { role: 'row' }, used.map((c, i) => {
    // Only long words may break anywhere, because a column can be as narrow as its words.
    const kind = c.number ? '.number' : /\S{20}/.test(c.value(row)) ? '.long' : '';
    return element(`${i === 0 ? 'th' : 'td'}${kind}`, { role: i === 0 ? 'rowheader' : 'cell', scope: i === 0 && 'row', 'data-title': c.title }, c.draw ? c.draw(row) : c.value(row));
  }));
  const grown = growing(body, rows, draw, 100);
  let sorted = -1;
  let down = false;
  let needle = '';
  const chosen = new Map();
  const status = element('p.status', { role: 'status' });
  const texts = new Map();
  const text = (row) => {
    if (!texts.has(row)) texts.set(row, used.map((c) => c.value(row)).join('\n').toLowerCase());
    return texts.get(row);
  };
  let turn = 0;
  const apply = async () => {
    turn += 1;
    const mine = turn;
    const parts = needle.toLowerCase().split(/\s+/).filter(Boolean);
    const choices = [...chosen].filter(([, value]) => value !== '');
    const kept = [];
    for (const row of rows) {
      if (choices.every(([c, value]) => String(c.value(row)) === value) && parts.every((part) => text(row).includes(part))) kept.push(row);
      await pause();
    }
    if (mine !== turn) return; // what is wanted has changed
    if (sorted >= 0) {
      const of = used[sorted].order ?? used[sorted].value;
      const keys = new Map(kept.map((row) => [row, of(row)]));
      const order = by((row) => keys.get(row));
      kept.sort(down ? (a, b) => order(b, a) : order);
    }
    grown.show(kept);
    const all = kept.length === rows.length;
    status.textContent = all ? count(rows.length, 'row') : `${kept.length.toLocaleString('en')} of ${count(rows.length, 'row')}`;
  };
  const sortable = rows.length > 4;
  const heads = used.map((c, i) => {
    const head = element(`th${c.number ? '.number' : ''}`, { role: 'columnheader', scope: 'col' });
    if (!sortable) {
      head.append(c.title);
      return head;
    }
    const button = element('button', { type: 'button' }, c.title, element('span.direction', { 'aria-hidden': 'true' }));
    button.addEventListener('click', () => {
      down = sorted === i && !down;
      sorted = i;
      heads.forEach((h) => h.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      apply();
    });
    head.append(button);
    return head;
  });
  const controls = [];
  if (rows.length > 8) {
    const search = element('input', { type: 'search', id: `${id}-filter`, autocomplete: 'off', spellcheck: 'false' });
    search.addEventListener('input', () => {
      needle = search.value;
      apply();
    });
    controls.push(element('span', {}, element('label', { for: `${id}-filter` }, 'Filter'), search));
    for (const [i, c] of columns.entries()) {
      const values = c.choose ? [...grouped(rows, (row) => String(c.value(row)))] : [];
      if (values.length < 2 || values.length > 100) continue;
      const select = element('select', { id: `${id}-choice-${i}` }, element('option', { value: '' }, 'all'),
        values.sort(by(([value]) => value)).map(([value, some]) => element('option', { value }, `${visible(value)} (${some.length.toLocaleString('en')})`)));
      // The value of an option is compared with the row's, so it must not be changed.
      [...select.options].slice(1).forEach((option, n) => { option.value = values[n][0]; });
      select.addEventListener('change', () => {
        chosen.set(c, select.value);
        apply();
      });
      controls.push(element('span', {}, element('label', { for: select.id }, c.title), select));
    }
    status.textContent = count(rows.length, 'row');
    controls.push(status);
  }
  return element('div.listing', {},
    controls.length > 0 && element('div.controls', { role: 'group', 'aria-label': `Filter: ${caption}` }, controls),
    element('table', { role: 'table' }, element('caption', {}, caption), element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, heads)), body), grown.parts);
}

function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const k = key(item);
    if (!groups.has(k)) groups.set(k, []);
    groups.get(k).push(item);
  }
  return groups;
}

// folded shows a summary and draws the rest when it is opened.
function folded(summary, draw) {
  const details = element('details', {}, element('summary', {}, summary));
  details.addEventListener('toggle', () => {
    if (details.open && details.children.length === 1) details.append(...[draw()].flat(Infinity).filter(Boolean));
  });
  return details;
}

// code shows a reference or another text for machines. It breaks after the host, and
// before the digest.
const code = (text) => text && element('code', {}, visible(text).split(/(?<=^[^/]*\/)|(?=@)/).flatMap((part, i) => (i > 0 ? [element('wbr'), part] : [part])));
const digest = (value) => value && element(short(value).length < 20 ? 'code.whole' : 'code', { title: value }, short(value));

// Header

function header(steps) {
  const first = steps[0].result;
  const several = steps.length > 1;
  const order = ['misuse', 'refused', 'failed', 'cancelled', 'partial', 'done'];
  const worst = order.find((o) => current(steps).some((s) => s.result.outcome === o)) ?? first.outcome;
  const name = several ? count(steps.length, 'step') : actionOf(first);
  document.title = `${name}: ${visible(worst)}${first.run.id ? ` – run ${first.run.id}` : ''} – acrpromote`;
  const same = (of) => (steps.every((s) => of(s.result) === of(first)) ? of(first) : '');
  const times = steps.map((s) => s.result).filter((r) => TIME.test(r.startedAt) && TIME.test(r.finishedAt));
  const start = times.map((r) => r.startedAt).sort(by(instant))[0];
  const end = times.map((r) => r.finishedAt).sort(by(instant)).at(-1);
  const url = same((r) => r.run.url);
  const number = same((r) => (r.run.kind === 'none' || !r.run.id ? '' : `${r.run.kind === 'release' ? 'Release' : 'Run'} ${r.run.id}`));
  document.getElementById('top').replaceChildren(
    element('p.kicker', {}, 'acrpromote · ', name),
    element('h1', { id: 'title' }, element(`span.outcome.${OUTCOMES[worst] ?? 'bad'}`, {}, element('span.mark', { 'aria-hidden': 'true' }, MARKS[OUTCOMES[worst]] ?? '✕'), capital(visible(worst))), element('span.headline', {}, several ? `${current(steps).filter((s) => s.result.outcome === 'done').length} of ${count(current(steps).length, 'step')} done.` : sentence(capital(visible(steps[0].headline))))),
    facts([
      ['Run', number && [number, same((r) => r.run.pipeline.name) && ` of ${visible(same((r) => r.run.pipeline.name))}`]],
      ['Project', number && same((r) => [r.run.organization, r.run.project].filter(Boolean).join(' / '))],
      ['Stage', !several && first.run.stage],
      ['Job', !several && first.run.job && first.run.job + (first.run.attempt > 1 ? `, attempt ${first.run.attempt}` : '')],
      ['Requested by', same((r) => r.run.requestedBy)],
      ['Branch', code(same((r) => r.run.branch))],
      ['Commit', code(same((r) => r.run.commit))],
      ['Started', start && moment(start)],
      ['Took', start && duration(Date.parse(end) - Date.parse(start))],
      ['Written', several || first.outcome === 'misuse' ? '' : first.changed ? 'yes' : 'nothing'],
      ['Page of the run', url && link(url), true],
      [first.recall?.lift ? 'Reason of the lift' : 'Reason of the recall', !several && first.recall?.reason, true],
    ]),
  );
}

function codes(steps) {
  const last = steps.at(-1).result;
  const shown = [];
  if (last.outcome === 'done' && !last.dryRun && last.action === 'seal' && last.approvalCode) {
    shown.push(element('p.code', {}, 'Code of the image: ', code(last.approvalCode)), element('p', {}, 'An approver who quotes it in the comment approves these bytes and no others.'));
  }
  if (last.action === 'plan' && ['done', 'refused'].includes(last.outcome)) {
    const asked = last.rulesInForce.approvalCode?.value;
    if (last.plan && asked !== 'image') shown.push(element('p.code', {}, 'Code of the plan: ', code(last.plan.code)));
    if (last.approvalCode && asked !== 'plan') shown.push(element('p.code', {}, 'Code of the image: ', code(last.approvalCode)));
  }
  return section('Approval code', shown);
}

function overview(steps) {
  if (steps.length < 2) return null;
  return section('Steps', table('The steps in this report', [
    { title: 'Step', value: (s) => stepName(s.result) },
    { title: 'Outcome', value: (s) => s.result.outcome, draw: (s) => badge(OUTCOMES[s.result.outcome] ?? 'bad', s.result.outcome), choose: true },
    { title: 'Result', value: (s) => sentence(capital(s.headline)) },
    timeColumn('Started', (s) => s.result.startedAt),
  ], steps));
}

// What to do next

function next(steps) {
  const items = [];
  for (const { result: r, help } of current(steps)) {
    const step = steps.length > 1 ? stepName(r) : '';
    for (const f of r.refusals) items.push({ step, what: f.rule, url: help[f.rule], ...f });
    const errors = words({ source: 'error at the source', target: 'error at the target', service: 'error at a service', input: 'input error' });
    for (const e of r.errors) items.push({ step, what: errors[e.side] ?? 'error', ...e });
  }
  if (items.length === 0) return null;
  const ol = element('ol.next', {});
  const grown = growing(ol, items, (i) => element('li', {},
    element('p', {}, element('strong', {}, i.url ? link(i.url, i.what) : i.what), i.subject && [' – ', code(i.subject)], i.step && element('span.soft', {}, ` (${visible(i.step)})`)),
    element('p', {}, sentence(capital(visible(i.reason)))),
    i.remedy && element('p.remedy', {}, i.remedy)), 50);
  return section('What to do next', ol, grown.parts);
}

// The flow

// rows lists images × targets, over all steps.
async function targetRows(steps) {
  const rows = [];
  for (const step of steps) {
    for (const image of step.images) {
      for (const target of image.targets) {
        rows.push({ step, image, target, source: visible(image.source), to: visible(where(target)), rules: rulesOf(step, image, target) });
      }
      await pause();
    }
  }
  return rows;
}

// rulesOf returns the rules that a refused target does not meet: those about it, or else
// those about the whole step.
function rulesOf(step, image, target) {
  if (target.state !== 'refused') return [];
  step.bySubject ??= grouped(step.result.refusals, (f) => f.subject);
  const about = (subject) => step.bySubject.get(subject) ?? [];
  const own = [where(target), image.source, `${host(image.source)}/${image.source.split(/[/:@]/).slice(1, -1).join('/')}@${image.digest}`].flatMap(about);
  if (own.length > 0) return [...new Set(own.map((f) => f.rule))];
  step.rules ??= [...new Set(step.result.refusals.map((f) => f.rule))];
  return step.rules;
}

// flowOf returns the registries and what moved between them. If steps are about the same
// target, the last counts.
async function flowOf(steps, rows) {
  const latest = new Map();
  for (const row of rows) {
    latest.set(`${row.image.source}\n${row.image.digest}\n${row.to}`, row);
    await pause();
  }
  const nodes = new Map();
  const edges = new Map();
  const known = new Map();
  for (const { result } of steps) {
    for (const r of list(result.registries)) for (const h of [r.host, ...list(r.hosts)]) known.set(h.toLowerCase(), r);
  }
  const node = (name) => {
    if (!nodes.has(name)) nodes.set(name, { host: name, images: new Set(), into: new Map(), trust: known.get(name.toLowerCase()) });
    return nodes.get(name);
  };
  const between = (from, to, state) => {
    const key = `${from}\n${to}`;
    if (!edges.has(key)) edges.set(key, { from: node(from), to: node(to), states: new Map(), rules: new Set(), refs: [] });
    const { states } = edges.get(key);
    states.set(state, (states.get(state) ?? 0) + 1);
    return edges.get(key);
  };
  for (const { images } of steps) for (const image of images) if (image.source) node(host(image.source)).images.add(image.source);
  for (const { image, target, rules } of latest.values()) {
    const edge = between(host(image.source), target.registry, target.state);
    if (edge.refs.length < 2) edge.refs.push(`${target.repository}${target.tag ? `:${target.tag}` : ''}`);
    rules.forEach((rule) => edge.rules.add(rule));
    await pause();
  }
  for (const life of steps.flatMap(({ result }) => list(result.trace))) {
    for (const e of list(life.events)) if (e.from !== '') list(e.to).forEach((to) => between(host(e.from), host(to), e.basis === 'claimed' ? e.basis : e.kind));
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

const summary = (states) => [...states].map(([state, n]) => `${n.toLocaleString('en')} ${visible(state)}`).join(', ');

// columnsOf places registries by trust, the most trusted first. Without trust levels, a
// registry comes after those that it gets images from.
function columnsOf({ nodes, edges }) {
  const rank = new Map(nodes.map((n) => [n, 0]));
  const byTrust = nodes.every((n) => n.trust);
  if (byTrust) {
    for (const n of nodes) rank.set(n, -n.trust.level);
  } else {
    for (let round = 0; round < Math.min(nodes.length, 8); round += 1) {
      for (const { from, to } of edges) if (from !== to && rank.get(to) <= rank.get(from) && rank.get(from) < 5) rank.set(to, rank.get(from) + 1);
    }
  }
  const columns = [...grouped(nodes, (n) => rank.get(n))].sort(([a], [b]) => a - b).map(([, group]) => group);
  return { columns, byTrust };
}

const cutMiddle = (text, width) => (text.length <= width ? text : `${text.slice(0, Math.ceil(width / 2) - 1)}…${text.slice(text.length - Math.floor(width / 2))}`);

// drawFlow draws the registries as boxes, and what moved between them as arrows.
function drawFlow(flow, width) {
  const { columns, byTrust } = columnsOf(flow);
  const narrow = width < 620 || columns.length > Math.floor(width / 220);
  const compact = Math.max(...columns.map((c) => c.length)) > 8;
  const high = compact ? 42 : 62;
  const gap = compact ? 8 : 16;
  const top = 26; // room for the name of a column
  const gutter = 40;
  const boxWidth = narrow ? width - gutter - 2 : Math.min(310, Math.floor((width - 110 * (columns.length - 1)) / columns.length));
  const step = narrow ? 0 : Math.min((width - boxWidth - 2) / Math.max(columns.length - 1, 1), boxWidth + 260);
  const tallest = Math.max(...columns.map((c) => c.length * (high + gap) - gap));
  const boxes = new Map();
  const marks = [];
  let y = 0;
  for (const [i, column] of columns.entries()) {
    const x = narrow ? gutter : 1 + i * step;
    const trust = byTrust ? `trust: ${visible(column[0].trust.trust)}` : '';
    if (!narrow) y = top + (tallest - (column.length * (high + gap) - gap)) / 2;
    else if (trust) y += top;
    if (trust) marks.push(drawing('text.column', { x, y: y - 9 }, cutMiddle(trust, Math.floor(boxWidth / 7))));
    for (const n of column) {
      boxes.set(n, { x, y, column: i });
      y += high + gap;
    }
    if (narrow) y += 8;
  }
  const height = narrow ? y : top + tallest + 4;
  const lines = [];
  const ends = new Map();
  for (const edge of flow.edges) {
    const from = boxes.get(edge.from);
    const to = boxes.get(edge.to);
    const kinds = [...new Set([...edge.states.keys()].map(kindOf))];
    for (const [i, kind] of kinds.entries()) {
      const shift = (i - (kinds.length - 1) / 2) * 9;
      const y1 = from.y + high / 2;
      const y2 = to.y + high / 2 + shift;
      let d;
      if (edge.from === edge.to) {
        const x = narrow ? to.x : to.x + boxWidth;
        const out = narrow ? x - 22 : x + 40;
        d = `M${x} ${y1 - 14 + shift}C${out} ${y1 - 24} ${out} ${y1 + 24} ${x} ${y1 + 14 + shift}`;
      } else if (narrow) {
        const spine = { moved: 26, there: 20, open: 14, left: 14, warn: 14, bad: 7 }[kind];
        d = `M${from.x} ${y1}H${spine}V${y2}H${to.x}`;
      } else if (from.column === to.column) {
        const x = from.x + boxWidth;
        d = `M${x} ${y1}C${x + 70} ${y1} ${x + 70} ${y2} ${x} ${y2}`;
      } else {
        const right = from.column < to.column;
        const x1 = right ? from.x + boxWidth : from.x;
        const x2 = right ? to.x : to.x + boxWidth;
        const bend = (x2 - x1) / 2;
        d = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
      }
      lines.push(drawing(`path.arrow.${kind}`, { d, 'marker-end': `url(#head-${kind})` }));
    }
    ends.set(edge.to, [...(ends.get(edge.to) ?? []), edge]);
  }
  for (const [n, { x, y: at }] of boxes) {
    const into = ends.get(n) ?? [];
    const states = new Map();
    for (const edge of into) for (const [state, k] of edge.states) states.set(state, (states.get(state) ?? 0) + k);
    const rules = [...new Set(into.flatMap((e) => [...e.rules]))];
    const worst = ['bad', 'open', 'warn', 'moved', 'left', 'there'].find((kind) => [...states.keys()].some((s) => kindOf(s) === kind));
    const isSource = n.images.size > 0;
    const sources = isSource ? (n.images.size === 1 ? [...n.images][0].slice(n.host.length + 1) : count(n.images.size, 'image')) : '';
    const refs = into.flatMap((e) => e.refs);
    const arrived = refs.length === 1 ? visible(refs[0]) : '';
    const result = states.size > 0 ? `${MARKS[worst]} ${summary(states)}${rules.length > 0 ? `: ${visible(rules[0])}${rules.length > 1 ? ` and ${rules.length - 1} more` : ''}` : ''}` : '';
    const mono = Math.floor((boxWidth - 24) / 7.3);
    const sans = Math.floor((boxWidth - 24) / 6.6);
    const texts = [['host', cutMiddle(visible(n.host), mono)]];
    if (compact || states.size > 0) texts.push([`state.${worst ?? 'left'}`, cutMiddle(result || visible(sources), sans)]);
    if (!compact && (isSource || arrived)) texts.push(['ref', cutMiddle(visible(isSource ? sources : arrived), mono)]);
    marks.push(drawing(`g.registry${isSource ? '.source' : ''}`, {},
      drawing('title', {}, `${visible(n.host)}${result ? `: ${result}` : ''}`),
      drawing('rect', { x, y: at, width: boxWidth, height: high, rx: 6 }),
      texts.map(([name, text], i) => drawing(`text.${name}`, { x: x + 12, y: at + (high - texts.length * 17) / 2 + 13 + i * 17 }, text))));
  }
  const heads = ['moved', 'there', 'open', 'left', 'warn', 'bad'].map((kind) => drawing(`marker.${kind}`, { id: `head-${kind}`, viewBox: '0 0 10 10', refX: 9, refY: 5, markerWidth: 9, markerHeight: 9, markerUnits: 'userSpaceOnUse', orient: 'auto' }, drawing('path', { d: 'M0 0 10 5 0 10z' })));
  const ways = flow.edges.map((e) => `${visible(e.from.host)} to ${visible(e.to.host)}: ${summary(e.states)}`);
  const label = ways.length > 0 ? ways.slice(0, 30).join('; ') + (ways.length > 30 ? `; and ${ways.length - 30} more` : '') : flow.nodes.map((n) => visible(n.host)).join(', ');
  const w = narrow ? width : Math.min(width, (columns.length - 1) * step + boxWidth + 44);
  return drawing('svg.flow', { viewBox: `0 0 ${w} ${height}`, width: w, height, role: 'img', 'aria-label': label }, drawing('defs', {}, heads), lines, marks);
}

const LEGEND = { moved: 'moved', warn: 'withdrawn', there: 'already present', open: 'not yet: planned or pending', left: 'other', bad: 'refused or failed' };

async function picture(steps, rows) {
  const flow = await flowOf(steps, rows);
  if (flow.edges.length === 0) return null;
  if (flow.nodes.length > 400 || flow.edges.length > 2000) return section('Flow', element('p', {}, `${count(flow.nodes.length, 'registry', 'registries')} are too many for a picture; the table has them all.`));
  const kinds = new Set(flow.edges.flatMap((e) => [...e.states.keys()].map(kindOf)));
  const legend = element('ul.legend', {}, Object.entries(LEGEND).filter(([kind]) => kinds.has(kind)).map(([kind, text]) => element('li', {},
    drawing('svg', { width: 34, height: 10, 'aria-hidden': 'true' }, drawing(`path.arrow.${kind}`, { d: 'M0 5H24', 'marker-end': `url(#head-${kind})` })), text)));
  const box = element('div.picture', {});
  const part = section('Flow', box, kinds.size > 0 && legend);
  let drawn = 0;
  const redraw = (width) => {
    if (width === drawn || width < 100) return;
    drawn = width;
    box.replaceChildren(drawFlow(flow, width));
  };
  new ResizeObserver(() => redraw(Math.min(box.clientWidth, 1040))).observe(box);
  unprinted.push(() => {
    const before = drawn;
    redraw(660);
    return () => redraw(before);
  });
  return part;
}

// The timeline

function timeline(steps) {
  const entries = new Map();
  const add = (kind, time, what, text, comment) => {
    const key = JSON.stringify([kind, time, what, text, comment]);
    if (!entries.has(key)) entries.set(key, { kind, time, what, text, comment });
  };
  for (const [at, { result: r, images, headline }] of steps.entries()) {
    const sealed = images.filter((i) => i.sealedAt).map((i) => i.sealedAt).sort(by(instant));
    if (sealed.length > 0) {
      const first = images.find((i) => i.sealedAt);
      add('moved', sealed[0], 'Sealed', images.length === 1 ? first.source : count(sealed.length, 'image') + (sealed.at(-1) === sealed[0] ? '' : `, the last at ${sealed.at(-1).slice(11, 19)} UTC`));
    }
    if (r.run.requestedBy) add('left', '', 'Run requested', `by ${r.run.requestedBy}`);
    for (const a of r.approval.approvals) {
      if (a.requestedAt) add('left', a.requestedAt, 'Approval requested', a.resource ? `on ${a.resource}` : '');
    }
    for (const a of r.approval.approvers) add('moved', a.at, 'Approved', `by ${a.name || 'a person who is not named'}${r.approval.guards ? `, on ${r.approval.guards}` : ''}`, a.comment);
    if (r.approval.kind === 'automated' && r.approval.granted) add('moved', '', 'Approved', `by checks of ${r.approval.guards || 'the stage'}`);
    if (r.approval.kind === 'none' && r.approval.granted) add('left', '', 'No approval required', '');
    if (r.approval.kind === 'unapproved') add('warn', '', 'Not approved', 'run at a prompt with --approval none');
    // An approval that was given for something else ends no waiting.
    const waits = !steps.slice(at + 1).some(({ result }) => result.approval.granted && result.approval.guards === r.approval.guards && result.run.id === r.run.id);
    for (const o of r.approval.rules.filter((rule) => waits && rule.pending && rule.rule === 'approval-missing')) add('open', '', 'Waits for approval', o.detail);
    const writes = !['plan', 'verify', 'audit', 'verifyReceipt', 'trace', 'doctor'].includes(r.action) && !r.dryRun;
    const took = TIME.test(r.startedAt) && TIME.test(r.finishedAt) ? `, ${duration(Date.parse(r.finishedAt) - Date.parse(r.startedAt))}` : '';
    const ends = words({ refused: 'Refused', misuse: 'Not started', cancelled: 'Stopped' });
    add(OUTCOMES[r.outcome] ?? 'bad', r.startedAt, ends[r.outcome] ?? (writes ? 'Executed' : 'Checked'), `${stepName(r)}${took}: ${headline}`, r.recall?.reason);
  }
  // What has no time stays behind what was added before it.
  let last = '';
  const ordered = [...entries.values()].map((entry) => {
    last = instant(entry.time) || last;
    return { entry, key: last };
  }).sort(by(({ key }) => key)).map(({ entry }) => entry);
  const ol = element('ol.timeline', {});
  const grown = growing(ol, ordered, (e) => element(`li.${e.kind}`, {},
    element('div.when', {}, e.time ? moment(e.time) : ''),
    element('div.what', {}, element('span.dot', { 'aria-hidden': 'true' }, MARKS[e.kind]), element('strong', {}, e.what), ' ', e.text, e.comment && element('blockquote', {}, e.comment))), 100);
  return section('Timeline', ol, grown.parts);
}

function rules(steps) {
  const rows = steps.flatMap((step) => step.result.approval.rules.map((o) => (
    { ...o, step, state: o.met ? 'met' : o.pending ? 'pending' : 'not met', kind: o.met ? 'moved' : o.pending ? 'open' : 'bad', url: step.help[o.rule] })));
  return section('Rules', table('The rules that were judged', [
    { title: 'Rule', value: (o) => o.label || o.rule, draw: (o) => [o.label || o.rule, !o.met && o.label && element('span.soft', {}, ' ', o.url ? link(o.url, o.rule) : code(o.rule))] },
    { title: 'State', value: (o) => o.state, draw: (o) => badge(o.kind, o.state), choose: true },
    { title: 'Detail', value: (o) => o.detail },
    ...stepColumn(steps),
  ], rows));
}

// Images, and what belongs to them

const stepColumn = (steps) => (steps.length > 1 ? [{ title: 'Step', value: (row) => stepName(row.step.result), choose: true }] : []);
const ORDER = ['refused', 'failed', 'pending', 'planned', 'left', 'copied', 'mounted', 'retagged', 'attached', 'present'];
const stateColumn = (of) => ({ title: 'State', value: (row) => of(row).state, order: (row) => ORDER.indexOf(of(row).state), draw: (row) => badge(kindOf(of(row).state), of(row).state), choose: true });

const RECALLED = words({
  withdrawn: 'reads are disabled', restored: 'can be read', absent: 'not there', recorded: 'the record is attached; can still be read',
  untagged: 'the tags are deleted; can still be read by its digest', left: 'can still be read: this registry cannot disable reads',
});

function note({ target: t, rules: of }) {
  const notes = [];
  if (RECALLED[t.state]) notes.push(RECALLED[t.state]);
  if (list(t.readable).length > 0) notes.push(`still readable, because other images have it too: ${t.readable.map(short).join(', ')}`);
  if (of.length > 0) notes.push(of.join(', '));
  if (t.previous) notes.push(`${t.state === 'planned' || t.state === 'refused' ? 'would move' : 'moved'} from ${short(t.previous)}`);
  if (t.rollback) notes.push('rollback to an older image');
  if (t.locked) notes.push(`locked: ${t.locked}`);
  if (t.referrers > 0) notes.push(count(t.referrers, 'attached artifact'));
  if (t.error) notes.push(t.error);
  return notes.join('; ');
}

function imageTable(steps, rows) {
  const moved = new Set(rows.map((r) => r.source));
  const without = steps.flatMap((step) => step.images.filter((i) => i.targets.length === 0 && !moved.has(visible(i.source))).map((image) => ({ step, image, target: { registry: '', repository: '', tag: '', state: '', referrers: 0, error: '' }, rules: [], source: visible(image.source), to: '' })));
  const all = [...rows, ...without];
  return section('Images and targets', table('Each image at each target', [
    { title: 'Image', value: (r) => r.source, draw: (r) => code(r.source), always: true },
    { title: 'Digest', value: (r) => r.image.digest, draw: (r) => digest(r.image.digest) },
    { title: 'Size', value: (r) => (r.image.bytes > 0 ? r.image.bytes : ''), order: (r) => r.image.bytes, draw: (r) => (r.image.bytes > 0 ? size(r.image.bytes) : ''), number: true },
    timeColumn('Sealed', (r) => (rows.length === 0 ? r.image.sealedAt : '')),
    { title: 'Target', value: (r) => r.to, draw: (r) => code(r.to) },
    { title: 'Registry', value: (r) => r.target.registry, choose: true, hidden: true },
    stateColumn((r) => r.target),
    { title: 'Notes', value: note },
    ...stepColumn(steps),
  ], all));
}

function attachedTable(steps) {
  const rows = steps.flatMap((step) => step.images.flatMap((image) => image.attached.map((a) => ({ step, image, a }))));
  return section('Attached artifacts', table('What is attached to the images: the worst state over all targets', [
    { title: 'Type', value: ({ a }) => a.artifactType || 'digest tag', draw: ({ a }) => code(a.artifactType || 'digest tag'), choose: true },
    { title: 'Digest', value: ({ a }) => a.digest, draw: ({ a }) => digest(a.digest) },
    { title: 'Attached to', value: ({ image, a }) => `${image.source} ${a.subject}`, draw: ({ image, a }) => [code(image.source), a.subject !== image.digest && [' ', digest(a.subject)]] },
    stateColumn(({ a }) => a),
    { title: 'Why', value: ({ a }) => a.reason },
    { title: 'In the plan', value: ({ a }) => (a.inPlan ? 'yes' : '') },
    ...stepColumn(steps),
  ], rows));
}

function receipts(steps) {
  const rows = steps.flatMap((step) => step.result.receipts.map((r) => ({ step, r })));
  const signing = steps.flatMap((s) => s.result.signing);
  const verdicts = steps.flatMap(({ result }) => (result.receiptVerdict ? [result.receiptVerdict] : []));
  return section('Receipts',
    verdicts.map((v) => {
      const r = v.receipt;
      return [
        element('p', {}, badge(v.met ? 'moved' : 'bad', v.met ? 'meets all expectations' : 'does not meet the expectations'), ` ${count(v.valid, 'valid receipt')}`),
        r && facts([
          ['Image', code(r.resource)], ['From', code(r.from)], ['To', r.to.map((to) => [code(to), ' '])], ['Signed', moment(r.time)],
          ['Run', [r.run.id && `${r.run.kind === 'release' ? 'release' : 'run'} ${r.run.id} of ${visible(r.run.project)}`, r.run.stage && `, stage ${visible(r.run.stage)}`]],
          ['Requested by', r.run.requestedBy], ['Approval', `${visible(r.approvalKind)}, ${count(r.approvers, 'approver')}`], ['Checks', r.checks.map(visible).join(', ')],
          ['Rules', r.rulesVerified ? 'verified' : 'not verified'], ['Left out', r.redacted.map(visible).join(', ')], ['Key', code(r.keyId)],
        ]),
        r && table('Approvals that the receipt shows', [
          { title: 'Name', value: (g) => g.name || 'not named', always: true }, timeColumn('Time', (g) => g.at),
          { title: 'Comment', value: (g) => g.comment }, { title: 'On', value: (g) => g.resource },
        ], r.given),
        table('Signed seals', [
          timeColumn('Time', (s) => s.time), { title: 'Image', value: (s) => s.image, draw: (s) => code(s.image) },
          { title: 'Run', value: (s) => (s.run.id ? `${s.run.id}, stage ${s.run.stage}` : '') },
        ], v.seals),
      ];
    }),
    table('Signed statements that are attached to the images', [
      { title: 'Image', value: ({ r }) => `${r.registry}/${r.repository}@${r.subject}`, draw: ({ r }) => [code(`${r.registry}/${r.repository}`), ' ', digest(r.subject)] },
      { title: 'Statement', value: ({ r }) => r.predicateType, draw: ({ r }) => code(r.predicateType), choose: true },
      { title: 'Digest', value: ({ r }) => r.digest, draw: ({ r }) => digest(r.digest) },
      stateColumn(({ r }) => r),
      { title: 'Key', value: ({ r }) => r.keyId, draw: ({ r }) => digest(r.keyId) },
      ...stepColumn(steps),
    ], rows),
    table('Keys that sign', [
      { title: 'Key', value: (k) => k.key, draw: (k) => code(k.key) }, { title: 'Key ID', value: (k) => k.keyId, draw: (k) => digest(k.keyId) },
      { title: 'Signatures', value: (k) => k.signatures, number: true },
    ], signing));
}

function rights(steps) {
  const granted = words({ granted: 'granted', missing: 'not granted', unchecked: 'not checked' });
  return section('Rights that the action needs', table('By the claims of each registry’s token', [
    { title: 'Registry', value: (r) => r.registry, draw: (r) => code(r.registry) },
    { title: 'State', value: (r) => granted[r.state] ?? r.state, draw: (r) => badge(kindOf(r.state), granted[r.state] ?? r.state) },
    { title: 'Reason', value: (r) => r.reason }, { title: 'What to grant', value: (r) => r.remedy },
  ], steps.flatMap((s) => s.result.rights)));
}

const SEVERITIES = ['unknown', 'high', 'medium', 'low'];

function findings(steps) {
  const rows = steps.flatMap((step) => list(step.result.findings).map((f) => ({ step, f })));
  return section('Findings', table('What was found', [
    { title: 'Finding', value: ({ f }) => f.id, draw: ({ f }) => code(f.id), choose: true },
    { title: 'Severity', value: ({ f }) => f.severity, order: ({ f }) => SEVERITIES.indexOf(f.severity), draw: ({ f }) => badge(kindOf(f.severity), f.severity), choose: true },
    { title: 'Where', value: ({ f }) => f.where }, { title: 'What it allows', value: ({ f }) => f.allows },
    { title: 'What to do', value: ({ f }) => f.mend, draw: ({ f }) => (f.mend.startsWith('az ') ? code(f.mend) : f.mend) },
    ...stepColumn(steps),
  ], rows));
}

// doctor shows what was judged besides the findings.
function doctor(steps) {
  const parts = steps.flatMap(({ result: { doctor: d } }) => (d ? [
    facts([['Fails from the severity', d.failOn], ['Registries', list(d.registries).map(visible).join(', ')], ['Hosts that agents have to reach', list(d.outbound).map(visible).join(', ')]]),
    table('Rights that the flow file expects', [
      { title: 'Registry', value: (a) => a.registry, draw: (a) => code(a.registry) }, { title: 'Principal', value: (a) => a.principal, draw: (a) => code(a.principal) },
      { title: 'Role', value: (a) => a.role }, { title: 'Scope', value: (a) => a.scope, draw: (a) => code(a.scope) }, { title: 'As', value: (a) => a.as },
    ], list(d.accepted)),
    list(d.commands).length > 0 && folded('Commands that permit these hosts and nothing else', () => element('pre', {}, d.commands.join('\n'))),
  ] : []));
  return section('What was judged', parts);
}

function drift(steps) {
  const rows = steps.flatMap((step) => list(step.result.drift).map((f) => ({ step, f })));
  return section('Drift', table('Where the registries differ from what the flow leaves', [
    { title: 'Kind', value: ({ f }) => f.kind, draw: ({ f }) => badge('bad', f.kind), choose: true },
    { title: 'Registry', value: ({ f }) => f.registry, draw: ({ f }) => code(f.registry), choose: true },
    { title: 'Repository', value: ({ f }) => f.repository + (f.tag ? `:${f.tag}` : ''), draw: ({ f }) => code(f.repository + (f.tag ? `:${f.tag}` : '')) },
    { title: 'Digest', value: ({ f }) => f.digest, draw: ({ f }) => digest(f.digest) },
    { title: 'Reason', value: ({ f }) => f.reason },
    ...stepColumn(steps),
  ], rows));
}

// What changes, of plan and seal

function changes(steps) {
  const found = new Map(); // if several steps compared the same images, the last counts
  for (const image of steps.flatMap(({ images }) => images)) {
    for (const change of list(image.changes)) found.set(JSON.stringify([image.source, image.digest, change.old.digest]), { image, change });
  }
  const items = [...found.values()];
  if (items.length === 0) return null;
  const basis = words({
    moved: 'the tag points to it now', version: 'its tag is the highest version below the new one', newest: 'its tag was set last',
    same: 'the target has this very image, but not all that belongs to it', first: 'there is no other image', unknown: 'nothing to choose by is known',
  });
  const version = (d) => d && [d.version && `version ${visible(d.version)} (claimed)`, d.layerBytes > 0 && size(d.layerBytes)].filter(Boolean).join(', ');
  const box = element('div', {});
  const grown = growing(box, items, ({ image, change: c }) => {
    const old = c.old;
    return element('div.change', {},
      element('h3', {}, code(image.source)),
      facts([
        ['New', [digest(image.digest), ' ', version(image.description)]],
        ['Compared with', old.digest ? [code(`${old.registry}/${old.repository}${old.tag ? `:${old.tag}` : ''}`), ' ', digest(old.digest), ' ', version(old), `: ${basis[c.basis] ?? visible(c.basis)}`] : basis[c.basis] ?? visible(c.basis)],
        ['Targets', list(c.targets).map((target) => [code(target), ' '])],
        ['Platforms', [...list(c.platformsAdded).map((p) => `+ ${visible(p)}`), ...list(c.platformsRemoved).map((p) => `− ${visible(p)}`)].join(', ')],
        ['Layers', c.compared && `${c.layersNew.count} new (${size(c.layersNew.bytes)}), ${c.layersShared.count} shared (${size(c.layersShared.bytes)}), ${c.layersGone.count} gone`],
        ['Notes', list(c.notes).map(visible).join('; ')],
      ]),
      list(c.settings).length > 0 && folded(`Image configuration: ${count(c.settings.length, 'difference')}`, () => table('Settings that differ', [
        { title: 'Setting', value: (s) => s.name }, { title: 'Platforms', value: (s) => list(s.platforms).join(', ') }, { title: 'Old', value: (s) => s.old }, { title: 'New', value: (s) => s.new },
        { title: 'Added', value: (s) => list(s.added).join(', ') }, { title: 'Removed', value: (s) => list(s.removed).join(', ') }, { title: 'Changed', value: (s) => list(s.changed).join(', ') },
      ], c.settings)),
      list(c.packages).map((p) => folded(`Packages by ${visible(p.format)}${list(p.platforms).map((platform) => `, ${visible(platform)}`).join('')}: ${p.counts.added} added, ${p.counts.removed} removed, ${p.counts.changed} changed`, () => table('Packages that differ', [
        { title: 'Package', value: (x) => x.name }, { title: 'Change', value: (x) => x.how, choose: true }, { title: 'Old', value: (x) => x.old ?? '' }, { title: 'New', value: (x) => x.new ?? '' }, { title: 'Type', value: (x) => x.type },
      ], [
        ...list(p.added).map((x) => ({ ...x, how: 'added', new: x.version })), ...list(p.removed).map((x) => ({ ...x, how: 'removed', old: x.version })),
        ...list(p.changed).map((x) => ({ ...x, how: 'changed' })),
      ]))));
  }, 20);
  return section('What changes', box, grown.parts);
}

// The lives of images, of trace

function lives(steps) {
  const basis = words({ signed: 'moved', registry: 'there', claimed: 'warn' });
  return section('Life of the image', steps.flatMap(({ result }) => list(result.trace)).map((life) => element('div.change', {},
    element('h3', {}, code(life.image)), facts([['Digest', code(life.digest), true]]),
    table('Where it is', [
      { title: 'Repository', value: (p) => p.name, draw: (p) => code(p.name) }, { title: 'State', value: (p) => p.state, draw: (p) => badge(kindOf(p.state), p.state) },
      timeColumn('Pushed', (p) => p.pushed), { title: 'Tags', value: (p) => list(p.tags).join(', ') },
    ], list(life.places)),
    table('What happened', [
      timeColumn('Time', (e) => e.time || 'unknown'), { title: 'Event', value: (e) => e.kind, choose: true },
      { title: 'From', value: (e) => e.from, draw: (e) => code(e.from) }, { title: 'To', value: (e) => list(e.to).join(', ') }, { title: 'By', value: (e) => e.by },
      { title: 'Run', value: (e) => e.run }, { title: 'Detail', value: (e) => e.detail }, { title: 'Known from', value: (e) => e.basis, draw: (e) => badge(basis[e.basis] ?? 'left', e.basis) },
    ], list(life.events)))));
}

// Traffic

function traffic(steps) {
  const sums = new Map();
  for (const { result } of steps) {
    for (const t of result.traffic) {
      const sum = sums.get(t.registry) ?? { registry: t.registry, requests: 0, read: 0, written: 0, retries: 0, waited: 0, held: 0 };
      sum.requests += t.requests.read + t.requests.write + t.requests.referrers + t.requests.token;
      sum.read += t.bytesRead;
      sum.written += t.bytesWritten;
      sum.retries += t.retries;
      sum.waited += t.waitedMs;
      sum.held += t.heldMs;
      sums.set(t.registry, sum);
    }
  }
  const rows = [...sums.values()];
  const bar = (of, among, text) => {
    const most = rows.reduce((highest, row) => Math.max(highest, among(row)), 1);
    return {
      value: of, number: true,
      draw: (r) => [text(of(r)), drawing('svg.bar', { width: '100%', height: 6, 'aria-hidden': 'true' }, drawing('rect.track', { width: '100%', height: 6, rx: 3 }), of(r) > 0 && drawing('rect.amount', { width: `${Math.max((of(r) / most) * 100, 1)}%`, height: 6, rx: 3 }))],
    };
  };
  const bytes = (r) => Math.max(r.read, r.written);
  const times = (r) => Math.max(r.waited, r.held);
  const columns = [
    { title: 'Registry', value: (r) => r.registry, draw: (r) => code(r.registry) },
    { title: 'Requests', ...bar((r) => r.requests, (r) => r.requests, (n) => n.toLocaleString('en')) },
    { title: 'Received', ...bar((r) => r.read, bytes, size) },
    { title: 'Sent', ...bar((r) => r.written, bytes, size) },
    { title: 'Retries', value: (r) => r.retries, number: true },
    { title: 'Waited to retry', ...bar((r) => r.waited, times, duration) },
    { title: 'Held back', ...bar((r) => r.held, times, duration) },
  ];
  const shares = steps.flatMap((step) => step.result.budget.map((b) => ({ step, registry: b.registry, ...Object.fromEntries(['basic', 'standard', 'premium'].map((tier) => [tier, Math.max(b.shares[tier].read, b.shares[tier].write, b.shares[tier].referrers)])) })));
  const share = (tier) => ({ title: capital(tier), value: (b) => b[tier], draw: (b) => `${(b[tier] * 100).toFixed(b[tier] < 0.1 ? 1 : 0)} %`, number: true });
  return section('Traffic and waiting', table('For each registry; the bars of a row compare with those of the other rows', columns, rows),
    table('Requests as a part of what one identity may send in a minute, by service tier', [{ title: 'Registry', value: (b) => b.registry, draw: (b) => code(b.registry) }, share('basic'), share('standard'), share('premium'), ...stepColumn(steps)], shares));
}

// Details and JSON

const shown = (value) => (Array.isArray(value) ? (value.length > 0 ? value.map(visible).join(', ') : 'no restriction') : value === '' ? 'no restriction' : value !== null && typeof value === 'object' ? JSON.stringify(value) : String(value));

function details(steps) {
  return section('Details', steps.map(({ result: r }) => folded(steps.length > 1 ? stepName(r) : 'Identities, rules in force, flow file, network', () => [
    facts([
      ['Version', r.tool],
      ['Direction of trust', words({ checked: 'checked', unchecked: 'unchecked: no flow file says which registry is more trusted' })[r.direction] ?? r.direction],
      ['Rules', words({ inputs: 'from the inputs of the step', verified: 'from the flow file, verified', unverified: 'from the flow file, not verified' })[r.rules] ?? r.rules],
      ['Protection', r.protection],
      ['Flow file', r.flow && [code(r.flow.path), r.flow.repository && ` in ${visible(r.flow.repository)}`, r.flow.ref && ` at ${visible(r.flow.ref)}`, r.flow.commit && [', commit ', code(r.flow.commit)]]],
      ['Hash of the flow file', r.flow && code(r.flow.sha256)],
      ['Approval code', code(r.approvalCode)],
      ['Plan', r.plan && [code(r.plan.code), ' of ', code(r.plan.digest)]],
      ['Proxy', r.proxy], ['CA', r.ca], ['Network', words({ claimed: 'with the agent’s proxy or CA settings', direct: 'direct' })[r.transport] ?? r.transport],
      ['Hosts contacted', r.egress.map(visible).join(', ')],
      ['Suspicious variables', r.environment.map(visible).join(', ')],
    ]),
    table('How the step signs in', [
      { title: 'Host', value: (i) => i.host, draw: (i) => code(i.host) }, { title: 'Side', value: (i) => i.side },
      { title: 'Service connection', value: (i) => i.connection || 'none' }, { title: 'Client ID', value: (i) => i.clientId, draw: (i) => code(i.clientId) },
    ], r.identities),
    table('Rules in force', [
      { title: 'Rule', value: ([name]) => name, draw: ([name]) => code(name) },
      { title: 'Value', value: ([, rule]) => shown(rule.value) + list(rule.others).map((o) => `; ${shown(o.value)}${o.flow ? ` in ${o.flow}` : ''}`).join('') },
      { title: 'From', value: ([, rule]) => `${rule.from}${rule.flow ? `, flow ${rule.flow}` : ''}` },
    ], Object.entries(r.rulesInForce)),
  ])));
}

// jsonParts returns the text of result.json in parts.
function* jsonParts({ result, images }) {
  const keys = Object.keys(result);
  let text = '{\n';
  for (const [i, key] of keys.entries()) {
    const end = i < keys.length - 1 ? ',\n' : '\n';
    if (key === 'images' && images.length > 0) {
      text += `  ${JSON.stringify(key)}: [\n`;
      for (const [j, image] of images.entries()) {
        text += `${JSON.stringify(image, null, 2).replace(/^/gm, '    ')}${j < images.length - 1 ? ',' : ''}\n`;
        if (text.length > 20000) {
          yield text.slice(0, -1);
          text = '';
        }
      }
      text += `  ]${end}`;
    } else {
      text += `  ${JSON.stringify(key)}: ${JSON.stringify(result[key], null, 2).replace(/\n/g, '\n  ')}${end}`;
    }
    if (text.length > 20000) {
      yield text.slice(0, -1);
      text = '';
    }
  }
  yield `${text}}`;
}

const escaped = (text) => text.replace(INVISIBLE, (c) => c.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''));

function json(steps) {
  return section('JSON', steps.map((step) => folded(steps.length > 1 ? stepName(step.result) : 'result.json', () => {
    const box = element('div.json', {});
    (async () => {
      for (const part of jsonParts(step)) {
        const pre = document.createElement('pre');
        pre.textContent = escaped(part);
        box.append(pre);
        await pause();
      }
    })();
    return box;
  })));
}

// Loading

async function* lines(data) {
  if (data.dataset.packed === undefined) {
    yield* data.textContent.split('\n');
    return;
  }
  const packed = atob(data.textContent);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = packed.charCodeAt(i);
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')).pipeThrough(new TextDecoderStream()).getReader();
  let rest = []; // the parts of a line, which can be long
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const [first, ...others] = value.split('\n');
    rest.push(first);
    if (others.length > 0) {
      yield rest.join('');
      rest = [others.pop()];
      yield* others;
    }
  }
  yield rest.join('');
}

async function load() {
  const steps = [];
  for await (const line of lines(document.getElementById('data'))) {
    if (line === '') continue;
    const parsed = JSON.parse(line);
    if (parsed.result) steps.push({ ...parsed, help: words(parsed.help), images: [] });
    else steps.at(-1).images.push(parsed);
    await pause();
  }
  return steps.sort(by(({ result }) => instant(result.startedAt)));
}

async function start() {
  const main = document.getElementById('report');
  const steps = await load();
  header(steps);
  const rows = await targetRows(steps);
  const parts = [
    () => overview(steps), () => next(steps), () => codes(steps), () => picture(steps, rows), () => timeline(steps), () => rules(steps), () => rights(steps),
    () => findings(steps), () => drift(steps), () => doctor(steps), () => imageTable(steps, rows), () => changes(steps), () => attachedTable(steps), () => receipts(steps), () => lives(steps),
    () => traffic(steps), () => details(steps), () => json(steps),
  ];
  for (const part of parts) {
    const drawn = await part();
    if (drawn) main.append(drawn);
    await pause();
  }
  document.documentElement.dataset.ready = 'true';
}

// In a frame, the page around it gives the report the height that it needs.
if (parent !== window) new ResizeObserver(() => parent.postMessage({ acrpromoteHeight: document.body.getBoundingClientRect().height }, '*')).observe(document.body);

let undo = [];
addEventListener('beforeprint', () => { undo = unprinted.map((prepare) => prepare()); });
addEventListener('afterprint', () => {
  undo.forEach((each) => each());
  undo = [];
});

start().catch((error) => {
  document.getElementById('report').append(element('p.broken', { role: 'alert' }, `The report could not be drawn: ${error.message}. The result is in the page’s source, in JSON.`));
  document.documentElement.dataset.ready = 'failed';
});
