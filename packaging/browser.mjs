// A small client of Chromium's DevTools protocol, over the pipe that a browser started
// with --remote-debugging-pipe reads and writes.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'chrome', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'];

// findBrowser returns the path of Chromium, or undefined. CHROMIUM takes precedence.
export function findBrowser() {
  return process.env.CHROMIUM ?? BROWSERS.find((each) => spawnSync(each, ['--version']).status === 0);
}

export async function launch(executable, more = []) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'acrpromote-browser-'));
  const child = spawn(executable, [
    '--headless=new', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-default-browser-check', '--hide-scrollbars',
    `--user-data-dir=${profile}`, ...more, 'about:blank',
  ], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const [, , , writes, reads] = child.stdio;
  const waiting = new Map();
  const listeners = new Set();
  let last = 0;
  let ended;
  const fail = (why) => {
    ended = new Error(why);
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  child.on('exit', (status) => fail(`the browser ended (${status})`));
  writes.on('error', () => {});
  let parts = [];
  reads.on('data', (chunk) => {
    for (let rest = chunk; ;) {
      const at = rest.indexOf(0);
      if (at < 0) {
        parts.push(rest);
        return;
      }
      const message = JSON.parse(Buffer.concat([...parts, rest.subarray(0, at)]).toString());
      parts = [];
      rest = rest.subarray(at + 1);
      if (message.id === undefined) {
        for (const listener of listeners) listener(message);
        continue;
      }
      const { resolve, reject, method } = waiting.get(message.id) ?? {};
      waiting.delete(message.id);
      if (message.error) reject?.(new Error(`${method}: ${message.error.message}`));
      else resolve?.(message.result);
    }
  });
  const send = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    if (ended) {
      reject(ended);
      return;
    }
    last += 1;
    waiting.set(last, { resolve, reject, method });
    writes.write(`${JSON.stringify({ id: last, method, params, sessionId })}\0`);
  });

  return {
    // open returns a new tab. It records requests, dialogs, navigations and messages of
    // the console.
    async open({ width = 1200, height = 900, dark = false, scale = 1 } = {}) {
      const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      const call = (method, params) => send(method, params, sessionId);
      const seen = { requests: [], dialogs: [], navigations: [], console: [] };
      // A frame can have a process, and so a session, of its own.
      const sessions = new Set([sessionId]);
      const contexts = new Map();
      const urls = new Map();
      const attach = async (session) => {
        sessions.add(session);
        const of = (method, params) => send(method, params, session);
        await Promise.all([...['Page', 'Runtime', 'Network', 'Log'].map((domain) => of(`${domain}.enable`)),
          of('Target.setAutoAttach', { autoAttach: true, waitForDebuggerOnStart: true, flatten: true })]);
        await of('Runtime.runIfWaitingForDebugger');
      };
      const listener = (message) => {
        if (!sessions.has(message.sessionId)) return;
        const { method, params } = message;
        if (method === 'Target.attachedToTarget') attach(params.sessionId).catch(() => {});
        if (method === 'Target.detachedFromTarget') {
          for (const [key, { session }] of contexts) if (session === params.sessionId) contexts.delete(key);
        }
        if (method === 'Runtime.executionContextCreated' && params.context.auxData?.isDefault) contexts.set(params.context.uniqueId, { session: message.sessionId });
        if (method === 'Runtime.executionContextDestroyed') contexts.delete(params.executionContextUniqueId);
        if (method === 'Network.requestWillBeSent' && !params.request.url.startsWith('data:')) seen.requests.push(params.request.url);
        // What a policy blocked has not left the browser.
        if (method === 'Network.requestWillBeSent') urls.set(params.requestId, params.request.url);
        if (method === 'Network.loadingFailed' && params.blockedReason) seen.requests = seen.requests.filter((url) => url !== urls.get(params.requestId));
        if (method === 'Page.frameNavigated') seen.navigations.push(params.frame.url);
        if (method === 'Runtime.exceptionThrown') seen.console.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
        if (method === 'Log.entryAdded') seen.console.push(params.entry.text);
        if (method === 'Page.javascriptDialogOpening') {
          seen.dialogs.push(params.message);
          call('Page.handleJavaScriptDialog', { accept: false }).catch(() => {});
        }
      };
      listeners.add(listener);
      await attach(sessionId);
      await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: scale, mobile: false });
      await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] });
      const evaluateIn = async (session, expression, uniqueContextId) => {
        const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, uniqueContextId }, session);
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      };
      const evaluate = (expression) => evaluateIn(sessionId, expression);
      const untilTrue = async (test, expression, timeout = 30000) => {
        for (const end = Date.now() + timeout; ;) {
          const value = await test(expression);
          if (value) return value;
          if (Date.now() > end) throw new Error(`not true after ${timeout} ms: ${expression}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      return {
        call, evaluate, seen,
        // frame returns the frame in which an expression is true, once there is one.
        frame: (expression, timeout) => untilTrue(async () => {
          for (const [key, { session }] of contexts) {
            const inside = (each) => evaluateIn(session, each, key);
            if (await inside(expression).catch(() => false)) return { evaluate: inside, until: (each, limit) => untilTrue(inside, each, limit) };
          }
          return undefined;
        }, expression, timeout),
        async go(url) {
          const loaded = new Promise((resolve) => {
            const once = (message) => {
              if (message.sessionId !== sessionId || message.method !== 'Page.loadEventFired') return;
              listeners.delete(once);
              resolve();
            };
            listeners.add(once);
          });
          await call('Page.navigate', { url });
          await loaded;
        },
        until: (expression, timeout) => untilTrue(evaluate, expression, timeout),
        // press sends a key with its name, or types a text.
        async press(key, { shift = false } = {}) {
          const codes = { Tab: 9, Enter: 13, ' ': 32, Escape: 27, ArrowDown: 40, ArrowUp: 38, Home: 36, End: 35 };
          if (!codes[key]) {
            await call('Input.insertText', { text: key });
            return;
          }
          const event = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key], modifiers: shift ? 8 : 0 };
          const text = { Enter: '\r', ' ': ' ' }[key];
          await call('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', text, ...event });
          await call('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
        },
        async screenshot(file, whole = true) {
          const { data } = await call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: whole });
          fs.writeFileSync(file, Buffer.from(data, 'base64'));
        },
        async pdf() {
          const { data } = await call('Page.printToPDF', { printBackground: true, preferCSSPageSize: true });
          return Buffer.from(data, 'base64');
        },
        async close() {
          listeners.delete(listener);
          await send('Target.closeTarget', { targetId });
        },
      };
    },
    // tasks records the tasks of the main threads of pages until the function that it
    // returns is called. That returns for each its start, its duration, and the processor
    // time that it took, in milliseconds.
    async tasks() {
      const events = [];
      let complete;
      const completed = new Promise((resolve) => { complete = resolve; });
      const listener = ({ method, params }) => {
        if (method === 'Tracing.dataCollected') events.push(...params.value);
        if (method === 'Tracing.tracingComplete') complete();
      };
      listeners.add(listener);
      await send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['disabled-by-default-devtools.timeline', '__metadata'] } });
      return async () => {
        await send('Tracing.end');
        await completed;
        listeners.delete(listener);
        const mains = new Set(events.filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain').map((e) => `${e.pid} ${e.tid}`));
        return events.filter((e) => e.name === 'RunTask' && mains.has(`${e.pid} ${e.tid}`)).map((e) => ({ start: e.ts / 1000, duration: e.dur / 1000, processor: e.tdur / 1000 }));
      };
    },
    async close() {
      const exited = new Promise((resolve) => child.on('exit', resolve));
      await send('Browser.close').catch(() => child.kill('SIGKILL'));
      await exited;
      fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
