// SPDX-License-Identifier: Apache-2.0
// What the test files here are written with, and the program that runs one of their tests:
//
//   test("a file comes back", async ({ openai, stack }) => { … }, { workers: 2, config: { … } });
//
//   node lib/harness.mjs FILE NAME
//
// The stack (apis, workers, simulator, database) is pytest's, which starts this program: requests to it are lines of JSON on standard output, its answers
// come on standard input. First goes what the test wants of its stack (the members of tests/conftest.py's make_stack), then whatever the test asks
// (stack.kill, stack.sql, …: test_sdk.py says what there is), and at the end {"end": true} or {"fail": text}.
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const tests = new Map();

export function test(name, run, stack = {}) {
  tests.set(name, { run, stack });
}

/** Calls look() until it gives something true, and returns that; fails after so many seconds, naming `what`. */
export async function until(look, what, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; ; await sleep(25)) {
    const value = await look();
    if (value) return value;
    if (Date.now() > end) assert.fail(`${what} did not come true within ${seconds} s`);
  }
}

/** The error that a call ends with, which has to be of that class (and status). */
export async function refused(promise, type, status) {
  const error = await promise.then(
    (value) => assert.fail(`not refused: ${JSON.stringify(value)?.slice(0, 300)}`),
    (e) => e,
  );
  assert.ok(error instanceof type, `${type.name} was wanted, not ${error.stack}`);
  if (status) assert.equal(error.status, status, error.message);
  return error;
}

export async function collect(stream) {
  const all = [];
  for await (const item of stream) all.push(item);
  return all;
}

export function jsonl(lines) {
  return lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n") + "\n";
}

export function parseJsonl(text) {
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** One line of an OpenAI batch. */
export function line(custom_id, content = `say ${custom_id}`, more = {}) {
  return { custom_id, method: "POST", url: "/v1/chat/completions", body: { model: "default", messages: [{ role: "user", content }], ...more } };
}

/** A receiver of webhooks: { url, got: [{ headers, body }], close() }. */
export async function receiver() {
  const got = [];
  const server = createServer((request, response) => {
    const pieces = [];
    request.on("data", (p) => pieces.push(p));
    request.on("end", () => {
      got.push({ headers: request.headers, body: Buffer.concat(pieces).toString() });
      response.writeHead(204).end();
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}/hook`, got, close: () => server.close() };
}

// What Millrace answered, for the check against its OpenAPI description (tests/lib/answers.py): the same lines as Python's tests write.
const answers = process.env.MILLRACE_ANSWERS && `${process.env.MILLRACE_ANSWERS}/node-${process.pid}.jsonl`;

function record(method, url, answer, text) {
  const body = text.length < 1 << 20 ? text : "";
  const line = { method, path: new URL(url).pathname, status: answer.status, type: answer.headers.get("content-type") ?? "", body };
  appendFileSync(answers, JSON.stringify(line) + "\n");
}

/** A stream is read by the test alone, so that it can be left; it is recorded when it came to its end. */
function recordStream(method, url, answer) {
  const decoder = new TextDecoder();
  let text = "";
  const through = new TransformStream({
    transform(piece, to) {
      text += decoder.decode(piece, { stream: true });
      to.enqueue(piece);
    },
    flush: () => record(method, url, answer, text),
  });
  return new Response(answer.body.pipeThrough(through), { status: answer.status, headers: answer.headers });
}

function recordingFetch(pending) {
  return async (url, init) => {
    const answer = await fetch(url, init);
    if (!answers || !String(url).startsWith("http")) return answer;
    const [method, type] = [(init?.method ?? "GET").toUpperCase(), answer.headers.get("content-type") ?? ""];
    if (/event-stream|jsonl|ndjson/.test(type)) return recordStream(method, url, answer);
    const text = type.includes("json") ? answer.clone().text() : Promise.resolve("");
    const task = text.then((t) => record(method, url, answer, t), () => {}).finally(() => pending.delete(task));
    pending.add(task);
    return answer;
  };
}

async function main([file, name]) {
  const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  let turn = Promise.resolve();
  const ask = (message) => {
    const asked = turn.then(async () => {
      process.stdout.write(JSON.stringify(message) + "\n");
      const answer = JSON.parse((await input.next()).value);
      if (answer.error) throw new Error(answer.error);
      return answer.value;
    });
    turn = asked.catch(() => {});
    return asked;
  };
  await import(pathToFileURL(file));
  const { run, stack: wanted } = tests.get(name);
  const made = await ask({ stack: wanted });
  const stack = new Proxy(made, { get: (_, what) => (what in made ? made[what] : (...args) => ask({ call: what, args })) });
  const pending = new Set();
  const fetching = recordingFetch(pending);
  const clients = {
    openai: new OpenAI({ baseURL: `${made.url}/v1`, apiKey: made.api_key, fetch: fetching, maxRetries: 0, webhookSecret: made.webhook_secret }),
    anthropic: new Anthropic({ baseURL: made.url, apiKey: made.api_key, authToken: null, fetch: fetching, maxRetries: 0 }),
  };
  // How the simulator answers: its script by model, and what it saw.
  const simulator = {
    script: (models) => fetch(`${made.simulator}/_control`, { method: "POST", body: JSON.stringify({ models }) }).then((r) => assert.equal(r.status, 200)),
    stats: () => fetch(`${made.simulator}/_control/stats`).then((r) => r.json()),
    calls: () => fetch(`${made.simulator}/_control/calls`).then((r) => r.json()).then((r) => r.calls),
  };
  await run({ ...clients, stack, simulator });
  while (pending.size) await Promise.race([Promise.all(pending), sleep(1000).then(() => pending.clear())]);
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  // The test file imports this very module: so it must have been evaluated, and no await may stand at its top level.
  const say = (end) => process.stdout.write(JSON.stringify(end) + "\n", () => process.exit(0));
  main(process.argv.slice(2)).then(
    () => say({ end: true }),
    (e) => say({ fail: String(e?.stack ?? e) }),
  );
}
