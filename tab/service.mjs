// Reads a run from the API of Azure DevOps: GET requests only, to the address that the
// page of Azure DevOps gives, with a token of the person who looks at it.
import { earlierTimelines, Failure, refusal, REPORT, TOO_LARGE } from './steps.mjs';

const TIMEOUT = 30_000;
const MAX_DOCUMENT = 32 << 20;
export const MAX_REPORT = 16 << 20;

export class Service {
  #root;
  #token;
  #fetch;
  #earlier = new Map();

  // token returns a promise of a token.
  constructor(root, token, request = (...parameters) => fetch(...parameters)) {
    const { protocol, origin, pathname } = new URL(root);
    if (protocol !== 'https:' && protocol !== 'http:') throw new Failure('Azure DevOps gave an address that is not one of the web.');
    this.#root = `${origin}${pathname.replace(/\/*$/, '/')}`;
    this.#token = token;
    this.#fetch = request;
  }

  // run returns a run's timelines, the newest first, its attachments, and whether it has
  // completed.
  async run(project, build) {
    const of = (path, version) => this.#json(project, `builds/${build}${path}`, version);
    // The state is read first: what ends later is seen by the next reading.
    const { status } = await of('', '7.1');
    const [timeline, attachments] = await Promise.all([of('/timeline', '7.1'), of(`/attachments/${REPORT}`, '7.1-preview.2')]);
    const earlier = await Promise.all(earlierTimelines(timeline).map((id) => this.#earlierTimeline(id, () => of(`/timeline/${id}`, '7.1'))));
    return { completed: status === 'completed', timelines: [timeline, ...earlier], attachments: attachments?.value };
  }

  // The timeline of an earlier attempt no longer changes.
  async #earlierTimeline(id, read) {
    if (!this.#earlier.has(id)) this.#earlier.set(id, await read());
    return this.#earlier.get(id);
  }

  // report returns the text of an attachment.
  report(project, build, { timeline, record, name }) {
    return this.#get(project, `builds/${build}/${timeline}/${record}/attachments/${REPORT}/${encodeURIComponent(name)}`, '7.1-preview.2', MAX_REPORT);
  }

  async #json(project, path, version) {
    try {
      const value = JSON.parse(await this.#get(project, path, version, MAX_DOCUMENT) || 'null');
      // A run that has not started has no timeline.
      if (typeof value === 'object') return value ?? {};
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw new Failure('Azure DevOps returned something that is not the expected JSON.', { temporary: true });
  }

  async #get(project, path, version, limit) {
    const address = `${this.#root}${encodeURIComponent(project)}/_apis/build/${path}?api-version=${version}`;
    try {
      const response = await this.#fetch(address, {
        headers: { Authorization: `Bearer ${await this.#token()}` },
        credentials: 'omit', redirect: 'error', cache: 'no-store', referrerPolicy: 'no-referrer', signal: AbortSignal.timeout(TIMEOUT),
      });
      if (response.status === 204) return '';
      if (response.status !== 200) throw refusal(response.status, response.headers.get('Retry-After'));
      return await text(response, limit);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure('Azure DevOps could not be reached, or took too long.', { temporary: true });
    }
  }
}

// text reads a body, unless it is too large.
async function text(response, limit) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  const parts = [];
  for (let size = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return parts.join('') + decoder.decode();
    size += value.length;
    if (size > limit) {
      await reader.cancel();
      throw new Failure(TOO_LARGE);
    }
    parts.push(decoder.decode(value, { stream: true }));
  }
}
