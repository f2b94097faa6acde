// Serves the tab in a stand-in for the page of Azure DevOps, with an API behind it, each
// with its own origin on loopback. Another one must never be asked.
import { build } from 'esbuild-wasm';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleTab } from '../../packaging/tab.mjs';
import { BUILD, PROJECT } from './run.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const TOKEN = 'token-of-the-reader';
const TYPES = { '.html': 'text/html', '.js': 'application/javascript', '.css': 'text/css' };

export const LIGHT = { 'background-color': 'rgba(255, 255, 255, 1)', 'text-primary-color': 'rgba(0, 0, 0, .9)' };
export const DARK = { 'background-color': 'rgba(32, 31, 30, 1)', 'text-primary-color': 'rgba(255, 255, 255, 1)' };

const listen = (host, handler) => new Promise((resolve) => {
  const server = http.createServer(handler);
  server.listen(0, host, () => resolve({ server, origin: `http://${host}:${server.address().port}` }));
});

// standIn builds the tab in a folder and serves it. heading comes before it on the page.
export async function standIn(folder, heading = '') {
  const files = path.join(folder, 'tab');
  await bundleTab(files);
  const { outputFiles: [{ text: script }] } = await build({ entryPoints: [path.join(here, 'host.mjs')], bundle: true, write: false, format: 'iife', logLevel: 'error' });
  const page = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Run 20261123.1</title><style>html, body { margin: 0; height: 100% } iframe { display: block; width: 100%; height: 100vh; border: 0 }</style>${heading}<iframe title="Promotion"></iframe><script src="host.js"></script>`;
  let answer;
  const requests = [];

  const host = await listen('127.0.0.1', ({ url }, response) => {
    const [type, body] = { '/': ['text/html', page], '/host.js': ['application/javascript', script] }[url] ?? [];
    response.writeHead(body ? 200 : 204, { 'Content-Type': type ?? 'text/plain' }).end(body);
  });
  const tab = await listen('localhost', ({ url }, response) => {
    const file = path.join(files, path.basename(url));
    if (!fs.existsSync(file)) response.writeHead(404).end();
    else response.writeHead(200, { 'Content-Type': TYPES[path.extname(file)] }).end(fs.readFileSync(file));
  });
  const api = await listen('127.0.0.1', async (request, response) => {
    const headers = { 'Access-Control-Allow-Origin': tab.origin, 'Access-Control-Allow-Headers': 'authorization' };
    if (request.method === 'OPTIONS') {
      response.writeHead(200, headers).end();
      return;
    }
    const { pathname } = new URL(request.url, api.origin);
    requests.push(pathname);
    const refused = request.method !== 'GET' || request.headers.authorization !== `Bearer ${TOKEN}`;
    const { status = 200, body = '', ...more } = refused ? { status: 401 } : await answer(pathname);
    response.writeHead(status, { ...headers, ...more }).end(status === 204 ? undefined : body);
  });

  const elsewhere = [];
  const other = await listen('127.0.0.1', ({ method, url }, response) => {
    elsewhere.push(`${method} ${url}`);
    response.writeHead(200, { 'Access-Control-Allow-Origin': '*', 'Content-Type': 'text/html' }).end('<title>elsewhere</title>');
  });

  return {
    other: other.origin,
    elsewhere,
    origins: [host.origin, tab.origin, api.origin],
    requests,
    // serve sets how the API answers. run has timelines, attachments, status; reports has
    // the texts of attachments by the ids of their records; fault replaces an answer.
    serve({ run, reports = {}, fault = () => undefined }) {
      requests.length = 0;
      answer = async (pathname) => {
        const failed = await fault(pathname);
        if (failed) return failed;
        const of = (value) => ({ 'Content-Type': 'application/json', body: JSON.stringify(value) });
        const { status, timelines, attachments } = run();
        const base = `/contoso/${PROJECT}/_apis/build/builds/${BUILD}`;
        if (pathname === base) return of({ id: BUILD, status });
        if (pathname === `${base}/timeline`) return timelines[0] ? of(timelines[0]) : { status: 204 };
        if (pathname === `${base}/attachments/acrpromote.report`) return of({ count: attachments.length, value: attachments });
        const earlier = timelines.find(({ id }) => pathname === `${base}/timeline/${id}`);
        if (earlier) return of(earlier);
        const record = /\/([^/]+)\/attachments\/acrpromote\.report\/[^/]+$/.exec(pathname)?.[1];
        return record in reports ? { 'Content-Type': 'application/octet-stream', body: reports[record] } : { status: 404 };
      };
    },
    // address returns that of the host's page.
    address: (options = {}) => `${host.origin}/#${encodeURIComponent(JSON.stringify({
      tab: `${tab.origin}/index.html`, api: `${api.origin}/contoso/`, token: TOKEN, theme: LIGHT, project: PROJECT,
      build: { id: BUILD, project: { id: PROJECT, name: 'Shop' } }, ...options,
    }))}`,
    close: () => Promise.all([host, tab, api, other].map(({ server }) => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }))),
  };
}
