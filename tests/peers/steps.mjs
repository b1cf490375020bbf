// Runs the checks of checklist.json through a TypeScript SDK: what ts1_client.mjs and ts2_client.mjs have in common.
// Each of them hands in `connect`, which wraps its SDK's client; README.md tells the words that steps are made of.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const CONNECT_MS = 30_000, STEP_MS = 20_000, HEAR_MS = 5_000;
const here = fileURLToPath(new URL('.', import.meta.url));

/** Loads an installed peer: they live in target/peers, where a plain import would not look. */
export const peer = createRequire(join(process.env.MCPOOL_PEERS ?? join(here, '../../target/peers'), 'package.json'));

/** A result schema that lets everything through, in the form both SDKs take for methods that they don't know. */
export const anything = { '~standard': { version: 1, vendor: 'checklist', validate: value => ({ value }) } };

/** The SDKs' transport over a Unix socket. */
export class SocketTransport {
  constructor(path) {
    this.path = path;
  }

  start() {
    let rest = '';
    this.socket = connectSocket(this.path).setEncoding('utf8');
    this.socket.on('data', chunk => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) this.onmessage?.(JSON.parse(line));
    });
    this.socket.on('close', () => this.onclose?.());
    return new Promise((resolve, reject) => {
      this.socket.once('connect', resolve);
      this.socket.on('error', error => {
        reject(error);
        this.onerror?.(error);
      });
    });
  }

  send(message) {
    return new Promise((resolve, reject) => {
      this.socket.write(JSON.stringify(message) + '\n', error => (error ? reject(error) : resolve()));
    });
  }

  async close() {
    this.socket.end();
  }
}

/**
 * Gives a transport's messages to the SDK in a turn of the event loop each. Both SDKs take an answer at once and a
 * notification a moment later. What one read brings together with the answer is lost therefore, directly as well.
 * Whether a read brings both is up to the machine's load, so it would make a difference of one run and not of the next.
 */
export function inTurns(transport) {
  let handler;
  return Object.defineProperty(transport, 'onmessage', {
    get: () => handler && ((message, extra) => setImmediate(handler, message, extra)),
    set: given => (handler = given),
  });
}

/** One connection, and what came over it since the running step began. */
class Checklist {
  constructor(options) {
    this.era = options.era;
    this.words = { dir: options.dir, mebibyte: '0123456789abcdef'.repeat(65536) };
    this.uris = [`file://${options.dir}`];
    this.begin();
  }

  begin() {
    this.answers = {};
    this.asks = [];
    this.heard = [];
  }

  // What the server says of its own accord.

  ask(method, params) {
    this.asks.push({ method, params });
    const given = this.answers[method] ?? usualAnswer(method, params);
    if (given.error) throw Object.assign(new Error(given.error.message), given.error);
    return given;
  }

  roots() {
    // Not recorded: when and how often a server's question reaches this caller is the proxy's business.
    return { roots: this.uris.map((uri, n) => ({ uri, name: ['first', 'second'][n] })) };
  }

  hear(notification) {
    const said = JSON.stringify(notification);
    if (!this.heard.some(known => JSON.stringify(known) === said)) this.heard.push(notification);
    this.news?.();
  }

  // What the checklist does.

  async step(client, step) {
    if (step.era === 'modern' && this.era === 'legacy') return 'not in the legacy era';
    if (step.together) return Promise.all(step.together.map(one => this.step(client, one)));
    if (step.roots) {
      this.uris = this.fill(step.roots);
      await client.rootsChanged();
      return 'sent';
    }
    if (step.listen) return this.listen(client, step);
    if (step.notify) {
      await client.notify(step.notify, step.params);
      return 'sent';
    }
    return this.send(client, step);
  }

  /** Steps taken while a `subscriptions/listen` is open; what it brings is heard like everything else. */
  async listen(client, step) {
    const subscription = await client.listen(step.listen);
    const meanwhile = [];
    for (const one of step.steps) meanwhile.push(await this.step(client, one));
    await this.listenFor(step.hear);
    await subscription.close();
    return { honored: subscription.honoredFilter, meanwhile };
  }

  async send(client, step) {
    const outcome = step.progress ? { progress: [] } : {};
    const cancel = new AbortController();
    const onprogress = step.progress && (({ progress, total, message }) => {
      // Both SDKs lose the last notification when the answer comes in the same read: it can't be compared.
      if (progress === total) return;
      // The SDK 2.x tells of its own doing as if it were progress: no server said that.
      if (message?.startsWith('Fulfilling input required by')) return;
      outcome.progress.push([progress, total, message ?? null]);
      if (step.abort) cancel.abort('enough seen');
    });
    Object.assign(this.answers, step.answers);
    const options = { raw: step.raw, signal: cancel.signal, timeout: STEP_MS + 5_000, ...(onprogress && { onprogress }) };
    const request = params => client.send(step.send, params, options);
    Object.assign(outcome, await this.attempt(request, step));
    if (step.abort) return { 'aborted after': outcome.progress.slice(0, 1) };
    for (const [word, path] of Object.entries(step.keep ?? {})) {
      this.words[word] = String(path.reduce((found, key) => found?.[key], outcome.result));
    }
    return outcome;
  }

  /** One request, or, for `until`, as many as it takes for its result to show (`!`: no longer show) a text. */
  async attempt(request, step) {
    const params = this.fill(step.params) ?? undefined;
    const until = step.until && this.fill(step.until);
    let outcome;
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        outcome = { result: await (step.pages ? pages(request, step.pages) : request(params)) };
      } catch (error) {
        outcome = failure(error);
      }
      if (!until || JSON.stringify(outcome).includes(until.replace('!', '')) !== until.startsWith('!')) return outcome;
      await new Promise(resolve => setTimeout(resolve, 100));
    }
    return { 'never showed': until, last: outcome };
  }

  /** Replaces `${word}` in every text of a step. */
  fill(value) {
    if (typeof value === 'string') return value.replace(/\$\{(\w+)\}/g, (whole, word) => this.words[word] ?? whole);
    if (Array.isArray(value)) return value.map(inner => this.fill(inner));
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, this.fill(inner)]));
  }

  /** What was heard of the wanted methods since the step began; a count above 0 is waited for. */
  async listenFor(wanted) {
    const matching = method => this.heard.filter(said => said.method === method);
    const complete = () => Object.entries(wanted).every(([method, count]) => matching(method).length >= count);
    const end = Date.now() + HEAR_MS;
    while (!complete() && Date.now() < end) {
      await within(end - Date.now(), new Promise(resolve => (this.news = resolve))).catch(() => {});
    }
    return Object.fromEntries(Object.keys(wanted).map(method => [method, matching(method)]));
  }

  async check(client, steps) {
    const outcomes = [];
    let patient = true;
    for (const step of steps) {
      this.begin();
      const outcome = await within(STEP_MS, this.step(client, step)).catch(error => error === TIMEOUT ? 'timeout' : failure(error));
      const entry = { step: step.send ?? Object.keys(step)[0], outcome };
      // Those of calls made together come in any order.
      if (this.asks.length) entry.asks = this.asks.map(ask => JSON.stringify(ask)).sort().map(ask => JSON.parse(ask));
      // After a refusal nothing more will come, and what comes all the same is still recorded.
      patient &&= !(outcome.raised || outcome.error);
      // In the modern era nothing comes that was not asked for, by a `listen` or a log level.
      const asked = step.listen || step.params?._meta?.['io.modelcontextprotocol/logLevel'];
      const waited = patient && (asked || !(client.initialize().protocolVersion >= '2026'));
      const counts = Object.entries(step.hear ?? {}).map(([method, count]) => [method, waited ? count : 0]);
      if (step.hear) entry.heard = await this.listenFor(Object.fromEntries(counts));
      outcomes.push(entry);
    }
    return outcomes;
  }
}

/** A whole list, however it was cut into pages. */
async function pages(request, key) {
  const items = [];
  for (let cursor, rest = {}; ; ) {
    const { [key]: some, nextCursor, ...others } = await request(cursor === undefined ? undefined : { cursor });
    items.push(...some);
    Object.assign(rest, others);
    cursor = nextCursor;
    if (cursor === undefined) return { [key]: items, ...rest };
  }
}

/** An error that came over the wire has a number for a code; anything else was raised by the SDK itself. */
function failure(error) {
  if (typeof error?.code !== 'number') return { raised: String(error).split('\n')[0] };
  return { error: { code: error.code, message: error.message, ...(error.data !== undefined && { data: error.data }) } };
}

/** To a question that the step says nothing about: an echo of it, so that a misdirected answer shows. */
function usualAnswer(method, params) {
  if (method === 'elicitation/create') return { action: 'cancel' };
  const text = `You said: ${params.messages[0].content.text}`;
  return { role: 'assistant', content: { type: 'text', text }, model: 'checklist', stopReason: 'endTurn' };
}

const TIMEOUT = Symbol('timeout');

async function within(ms, work) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, ms, TIMEOUT)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** How to wait, before a check, for those who run the same checklist at the same time (meeting.py). */
async function others({ meet, name }) {
  if (!meet) return async () => {};
  const socket = connectSocket(meet).setEncoding('utf8');
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  let go = () => {};
  socket.on('data', () => go()).on('error', () => {}).on('close', () => go());
  socket.write(name + '\n');
  return turn => new Promise(resolve => {
    if (socket.closed) return resolve();
    go = resolve;
    socket.write(JSON.stringify({ turn: turn ?? null }) + '\n');
  });
}

/** The program: reads the arguments, runs the checks of `--server` and prints their outcomes. */
export async function main(connect) {
  console.debug = console.log = console.error; // the SDKs write to stdout, which is for the outcomes alone
  const { values: options, positionals: command } = parseArgs({
    allowPositionals: true,
    options: Object.fromEntries(['server', 'era', 'dir', 'meet', 'name', 'socket'].map(name => [name, { type: 'string' }])),
  });
  const checks = JSON.parse(readFileSync(join(here, 'checklist.json'), 'utf8'))[options.server];
  const checklist = new Checklist(options);
  const outcomes = {};
  try {
    const client = await within(CONNECT_MS, connect({ ...options, command }, checklist));
    outcomes.initialize = client.initialize();
    const come = await others(options);
    for (const [name, steps] of Object.entries(checks)) {
      await come(steps[0].turn);
      outcomes[name] = await checklist.check(client, steps);
    }
    await within(10_000, client.close());
  } catch (error) {
    console.error(error);
    outcomes.initialize ??= `no connection: ${error === TIMEOUT ? 'timeout' : error}`;
  }
  process.stdout.write(JSON.stringify(outcomes), () => process.exit());
}
