// Draws the tab. Every text goes into the page as a text node; reports go into frames
// without an origin.
import { framed, groupsOf, groupTitle, heightOf, isDark, summary, withoutReport } from './steps.mjs';

export class View {
  #document;
  #actions;
  #status;
  #list;
  #groups = new Map();
  #steps = new Map();
  #index;
  #entries = new Map();
  #offered = new Set();
  #dark = false;

  // actions has load(report), which returns a promise of its text, and again().
  constructor(document, actions) {
    this.#document = document;
    this.#actions = actions;
    this.#status = document.getElementById('status');
    this.#list = document.getElementById('steps');
    this.#index = document.getElementById('index');
    document.defaultView.addEventListener('message', ({ source, data }) => this.#resize(source, data));
  }

  clear() {
    this.#list.replaceChildren();
    this.#groups.clear();
    this.#steps.clear();
    this.#index.hidden = true;
    this.#index.firstElementChild.replaceChildren();
    this.#entries.clear();
    this.#offered.clear();
    this.#say('Reading the run…');
  }

  // adoptTheme follows the theme of the page of Azure DevOps. Its variables are in the
  // style sheet that the SDK has added.
  adoptTheme() {
    const root = this.#document.documentElement;
    const dark = isDark(this.#document.defaultView.getComputedStyle(root).backgroundColor);
    root.dataset.theme = dark ? 'dark' : 'light';
    if (dark === this.#dark) return;
    this.#dark = dark;
    for (const step of this.#steps.values()) step.adoptTheme();
  }

  show({ steps, older }, completed) {
    this.#say(summary(steps.length, older, completed));
    const groups = groupsOf(steps);
    arrange(this.#list, this.#groups, groups, () => new Group(this.#document));
    for (const group of groups) {
      arrange(this.#groups.get(group.key).list, this.#steps, group.steps, (step) => new Step(this.#document, step, { load: this.#actions.load, dark: () => this.#dark }));
    }
    const kept = new Set(steps.map(({ key }) => key));
    for (const drawn of [this.#steps, this.#entries]) {
      for (const key of [...drawn.keys()].filter((each) => !kept.has(each))) drawn.delete(key);
    }
    // A report is long: what comes after it is reached from the top.
    this.#index.hidden = steps.length < 2;
    arrange(this.#index.firstElementChild, this.#entries, steps, ({ key }) => new Entry(this.#document, () => this.#steps.get(key).reveal()));
    this.#offer(steps);
  }

  // fail shows why nothing was read, and, if nothing is tried again, a button that does.
  fail(why, delay) {
    const again = delay === undefined ? this.#document.createElement('button') : undefined;
    if (again) {
      again.textContent = 'Try again';
      again.addEventListener('click', () => {
        this.#say('Reading the run…');
        this.#actions.again();
      });
    }
    this.#say(delay === undefined ? why : `${why} Trying again in ${Math.round(delay / 1000)} seconds.`, 'bad', again);
  }

  #say(words, kind = '', ...more) {
    if (this.#status.firstChild?.data === words && more.length === 0) return;
    this.#status.className = kind;
    this.#status.replaceChildren(...(words === '' ? [] : [words, ...more]));
  }

  // offer opens the newest report, once, unless another one is being read.
  #offer(steps) {
    const newest = steps.find(({ reports }) => reports.length > 0);
    if (!newest || this.#offered.has(newest.key)) return;
    this.#offered.add(newest.key);
    if (![...this.#steps.values()].some(({ element }) => element.open)) this.#steps.get(newest.key).element.open = true;
  }

  #resize(source, data) {
    const height = heightOf(data);
    if (height === undefined) return;
    for (const step of this.#steps.values()) step.resize(source, height);
  }
}

// arrange makes the children of an element those of a list, in its order. What stays in
// its place is not moved, because a frame that moves loads again.
function arrange(parent, drawn, items, create) {
  let at = parent.firstElementChild;
  for (const item of items) {
    if (!drawn.has(item.key)) drawn.set(item.key, create(item));
    const one = drawn.get(item.key);
    one.update(item);
    if (one.element === at) at = at.nextElementSibling;
    else parent.insertBefore(one.element, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

class Group {
  #title;

  constructor(document) {
    this.element = document.createElement('section');
    this.list = document.createElement('div');
    this.#title = document.createElement('h2');
    this.element.append(this.#title, this.list);
  }

  update(group) {
    this.#title.textContent = groupTitle(group);
  }
}

// Entry is a step in the index.
class Entry {
  #document;
  #button;

  constructor(document, reveal) {
    this.#document = document;
    this.element = document.createElement('li');
    this.#button = document.createElement('button');
    this.#button.addEventListener('click', reveal);
    this.element.append(this.#button);
  }

  update(step) {
    this.#button.replaceChildren(badge(this.#document, step), ` ${groupTitle(step)}: ${step.name || 'AcrPromote'}`);
  }
}

function badge(document, { status }) {
  const e = document.createElement('span');
  e.className = `badge ${status.kind}`;
  e.textContent = status.words;
  return e;
}

class Step {
  #document;
  #actions;
  #step;
  #summary;
  #body;
  #frames = [];
  #loaded;

  constructor(document, step, actions) {
    this.#document = document;
    this.#actions = actions;
    this.element = document.createElement('details');
    this.#summary = document.createElement('summary');
    this.#body = document.createElement('div');
    this.#body.className = 'body';
    this.element.append(this.#summary, this.#body);
    this.element.addEventListener('toggle', () => this.#fill());
  }

  update(step) {
    const before = JSON.stringify(this.#step);
    if (before === JSON.stringify(step)) return;
    this.#step = step;
    const part = (name, className, words) => {
      const e = this.#document.createElement(name);
      e.className = className;
      e.textContent = words;
      return e;
    };
    const parts = [badge(this.#document, step), part('strong', '', step.name || 'AcrPromote')];
    if (step.job !== '') parts.push(part('span', 'faint', `job ${step.job}`));
    const at = Number.isNaN(step.finished) ? step.started : step.finished;
    if (!Number.isNaN(at)) {
      const time = part('time', 'faint', `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`);
      time.dateTime = new Date(at).toISOString();
      parts.push(time);
    }
    // Spaces between the parts are for those who hear them.
    this.#summary.replaceChildren(...parts.flatMap((each) => [each, ' ']));
    this.#fill();
  }

  // reveal opens the step and goes there.
  reveal() {
    this.element.open = true;
    this.#summary.focus();
    this.element.scrollIntoView();
  }

  adoptTheme() {
    for (const frame of this.#frames) frame.draw();
  }

  resize(source, height) {
    const frame = this.#frames.find(({ element }) => element.contentWindow === source);
    if (frame) frame.element.style.height = `${height}px`;
  }

  // fill shows the reports of a step that is open, or why there is none.
  #fill() {
    if (!this.element.open) return;
    const reports = JSON.stringify(this.#step.reports);
    if (this.#step.reports.length === 0) {
      this.#loaded = undefined;
      this.#frames = [];
      this.#body.replaceChildren(this.#words(withoutReport(this.#step)));
    } else if (this.#loaded !== reports) {
      this.#loaded = reports;
      this.#load(this.#step.reports);
    }
  }

  async #load(reports) {
    const loaded = this.#loaded;
    this.#body.replaceChildren(this.#words('Reading the report…', 'status'));
    const read = await Promise.allSettled(reports.map(async (report) => this.#actions.load(report)));
    if (loaded !== this.#loaded) return;
    this.#frames = [];
    this.#body.replaceChildren(...read.map(({ value, reason }) => {
      if (reason) return this.#unread(reason, reports);
      const frame = this.#frame(value);
      this.#frames.push(frame);
      return frame.element;
    }));
  }

  // unread says why one of the reports could not be read.
  #unread(error, reports) {
    const again = this.#document.createElement('button');
    again.textContent = 'Try again';
    again.addEventListener('click', () => this.#load(reports));
    const words = this.#words(error.message, 'alert');
    words.append(' ', again);
    return words;
  }

  #frame(text) {
    const element = this.#document.createElement('iframe');
    element.setAttribute('sandbox', 'allow-scripts');
    element.referrerPolicy = 'no-referrer';
    element.title = `Report of ${this.#step.name || 'AcrPromote'}`;
    const draw = () => { element.srcdoc = framed(text, this.#actions.dark()); };
    draw();
    return { element, draw };
  }

  #words(words, role) {
    const e = this.#document.createElement('p');
    if (role) e.setAttribute('role', role);
    e.textContent = words;
    return e;
  }
}
