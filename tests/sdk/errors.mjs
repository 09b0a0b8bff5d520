// SPDX-License-Identifier: Apache-2.0
// The classes of errors that OpenAI's SDK makes of refusals and failures, and its own retries.
import assert from "node:assert/strict";
import OpenAI, { AuthenticationError, BadRequestError, ConflictError, InternalServerError, NotFoundError, PermissionDeniedError, RateLimitError,
  UnprocessableEntityError, toFile } from "openai";
import { jsonl, line, refused, test, until } from "./lib/harness.mjs";

const say = (content, more = {}) => ({ model: "default", messages: [{ role: "user", content }], ...more });

test("a wrong key is an AuthenticationError", async ({ openai }) => {
  const stranger = openai.withOptions({ apiKey: "mr_wrong" });
  const error = await refused(stranger.models.list(), AuthenticationError, 401);
  assert.equal(error.code, "invalid_api_key");
  assert.ok(error.message.length > 10);
  assert.ok(error.requestID);
});

test("a bad request is a BadRequestError that names the field as OpenAI does", async ({ openai }) => {
  const error = await refused(openai.chat.completions.create({ model: "default", messages: [{ role: 5, content: "x" }] }), BadRequestError);
  assert.match(error.param, /^messages\[0\]/);
  assert.equal(error.type, "invalid_request_error");
  assert.equal(error.headers.get("x-should-retry"), "false");
  await refused(openai.chat.completions.create({ model: "default" }), BadRequestError);
});

test("an object that is not there is a NotFoundError", async ({ openai }) => {
  await refused(openai.batches.retrieve(`batch_${"0".repeat(32)}`), NotFoundError, 404);
  await refused(openai.batches.retrieve("batch_nonsense"), NotFoundError, 404);
  await refused(openai.post("/no/such/path"), NotFoundError, 404);
});

test("an admin's route is a PermissionDeniedError", async ({ openai, stack }) => {
  await refused(openai.withOptions({ baseURL: `${stack.url}/admin/v1` }).get("/targets"), PermissionDeniedError, 403);
});

test("what the state of an object forbids is a ConflictError", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 60000 } });
  const file = await openai.files.create({ file: await toFile(Buffer.from(jsonl([line("a")])), "in.jsonl"), purpose: "batch" });
  const batch = await openai.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
  await until(async () => (await openai.batches.retrieve(batch.id)).status === "in_progress", "the batch running");
  const error = await refused(openai.post(`/batches/${batch.id}/retry`), ConflictError, 409); // it has not ended
  assert.equal(error.headers.get("x-should-retry"), "false");
  await openai.batches.cancel(batch.id);
});

test("a key for another request is an UnprocessableEntityError", async ({ openai }) => {
  const keyed = { headers: { "Idempotency-Key": "k" } };
  await openai.chat.completions.create(say("hello"), keyed);
  const error = await refused(openai.chat.completions.create(say("something else"), keyed), UnprocessableEntityError, 422);
  assert.equal(error.code, "idempotency_key_reused");
});

test("what no target takes is a BadRequestError that names the part", async ({ openai }) => {
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: {} } } }];
  const error = await refused(openai.chat.completions.create(say("hello", { tools })), BadRequestError, 400);
  assert.equal(error.code, "unsupported_value");
  assert.match(error.param, /^tools/);
}, { config: { targets: { sim: { can: [], cannot: ["tools"] } } } });

test("over the limit on requests is a RateLimitError that says when", async ({ openai }) => {
  for (let i = 0; i < 3; i++) await openai.chat.completions.create(say("hello"));
  const error = await refused(openai.chat.completions.create(say("hello")), RateLimitError, 429);
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  assert.ok(Number(error.headers.get("retry-after-ms")) > 0);
  assert.equal(error.headers.get("x-ratelimit-limit-requests"), "3");
  assert.equal(error.headers.get("x-ratelimit-remaining-requests"), "0");
  assert.equal(error.code, "rate_limit_exceeded");
}, { config: { tiers: { small: { submit: 3 } }, rates: { keys: { "*": "small" } } } });

test("the SDK's own retries get it past 429 of a full queue", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 300 } });
  const statuses = [];
  const watching = (url, init) => fetch(url, init).then((answer) => (statuses.push(answer.status), answer));
  const patient = openai.withOptions({ maxRetries: 30, fetch: watching });
  const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => patient.chat.completions.create(say(`number ${i}`))));
  assert.equal(new Set(answers.map((a) => a.id)).size, 12);
  assert.ok(statuses.includes(429), statuses.join());
}, { config: { worker: { slots: 2 }, tiers: { small: { max_depth: 2 } }, rates: { tenants: { "*": "small" } } } });

test("a provider that fails for good is an InternalServerError", async ({ openai, simulator }) => {
  await simulator.script({ "*": { error_status: 500 } });
  const error = await refused(openai.chat.completions.create(say("hello", { millrace: { max_attempts: 1 } })), InternalServerError);
  assert.ok(error.status >= 500);
  assert.equal(error.type, "server_error");
});

test("the SDK's own retries get it past 503", async ({ openai, simulator }) => {
  await simulator.script({ "*": { fail_first: 2, error_class: "overloaded", answer: "at last" } });
  const asked = say("hello", { millrace: { max_attempts: 1 } });
  const answer = await openai.withOptions({ maxRetries: 5 }).chat.completions.create(asked);
  assert.equal(answer.choices[0].message.content, "at last");
  assert.equal((await simulator.stats()).calls, 3);
});

test("what the provider refuses is a BadRequestError and not repeated", async ({ openai, simulator }) => {
  await simulator.script({ "*": { error_class: "context_window" } });
  await refused(openai.withOptions({ maxRetries: 3 }).chat.completions.create(say("hello")), BadRequestError, 400);
  assert.equal((await simulator.stats()).calls, 1);
});

test("a stream that fails ends with an error", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "word ".repeat(100), chunk_bytes: 5, between_ms: 5, stream_error: { class: "bad_request", after_bytes: 1000 } } });
  let text = "";
  const error = await (async () => {
    const asked = say("hello", { stream: true, millrace: { max_attempts: 1 } });
    for await (const chunk of await openai.chat.completions.create(asked)) text += chunk.choices[0]?.delta.content ?? "";
  })().then(() => assert.fail("no error"), (e) => e);
  assert.ok(error instanceof OpenAI.APIError, error.stack);
  assert.ok(text.startsWith("word"));
});

test("api and worker away for a moment are hidden by the SDK's retries", async ({ openai, stack }) => {
  await stack.kill("api", 0);
  const asked = openai.withOptions({ maxRetries: 10 }).chat.completions.create(say("hello"));
  await stack.start("api", 0);
  assert.equal((await asked).object, "chat.completion");
});
