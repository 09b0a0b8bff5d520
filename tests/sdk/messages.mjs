// SPDX-License-Identifier: Apache-2.0
// Messages and message batches through Anthropic's SDK.
import assert from "node:assert/strict";
import { AuthenticationError, BadRequestError, NotFoundError, RateLimitError, APIError } from "@anthropic-ai/sdk";
import { collect, refused, test, until } from "./lib/harness.mjs";

const say = (content, more = {}) => ({ model: "default", max_tokens: 500, messages: [{ role: "user", content }], ...more });
const TEXT = "Pack my box with five dozen liquor jugs. Ünïcödé: 🦑 \u201cquoted\u201d \\ and a\nline.";
const WEATHER = {
  name: "get_weather",
  description: "The weather at a place",
  input_schema: { type: "object", properties: { city: { type: "string", description: "name of the city" } }, required: ["city"] },
};

test("a message is answered in Anthropic's form", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { answer: TEXT } });
  const { data, response } = await anthropic.messages.create(say("hello", { system: "Be brief." })).withResponse();
  assert.match(data.id, /^msg_[0-9a-f]{32}$/);
  assert.equal(data.type, "message");
  assert.equal(data.role, "assistant");
  assert.equal(data.stop_reason, "end_turn");
  assert.deepEqual(data.content.map((b) => [b.type, b.text]), [["text", TEXT]]);
  assert.ok(data.usage.input_tokens > 0 && data.usage.output_tokens > 0);
  assert.equal(response.headers.get("x-millrace-job-id"), data.id.replace("msg_", "job_"));
  assert.ok(response.headers.get("request-id") ?? response.headers.get("x-request-id"));
});

test("a streamed message says the same text as one that is not", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 5, between_ms: 5 } });
  const whole = await anthropic.messages.create(say("hello"));
  const events = await collect(await anthropic.messages.create(say("hello", { stream: true })));
  const text = events.filter((e) => e.type === "content_block_delta").map((e) => e.delta.text).join("");
  assert.equal(text, whole.content[0].text);
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-1).type, "message_stop");
  const end = events.find((e) => e.type === "message_delta");
  assert.equal(end.delta.stop_reason, "end_turn");
  assert.equal(end.usage.output_tokens, whole.usage.output_tokens);
});

test("the stream helper puts the message together", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 7 } });
  const stream = anthropic.messages.stream(say("hello"));
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.equal(final.content[0].text, TEXT);
  assert.equal(text, TEXT);
});

test("a stream whose client leaves frees the upstream call", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { answer: "word ".repeat(500), chunk_bytes: 5, between_ms: 100 } });
  for await (const event of await anthropic.messages.create(say("hello", { stream: true }))) if (event.type === "content_block_delta") break;
  await until(async () => (await simulator.calls()).some((c) => c.canceled), "the upstream call being left");
});

test("tools are called and their results go back", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { tool_call: true } });
  const asked = say("What is the weather? City: Paris", { tools: [WEATHER], tool_choice: { type: "auto" } });
  const first = await anthropic.messages.create(asked);
  assert.equal(first.stop_reason, "tool_use");
  const call = first.content.find((b) => b.type === "tool_use");
  assert.equal(call.name, "get_weather");
  assert.equal(typeof call.input.city, "string");
  const streamed = await anthropic.messages.stream(asked).finalMessage();
  assert.deepEqual(streamed.content.find((b) => b.type === "tool_use").input, call.input);
  await simulator.script({ "*": { tool_call: null, answer: "It rains." } });
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "rain" }] };
  const messages = [...asked.messages, { role: "assistant", content: first.content }, result];
  const second = await anthropic.messages.create({ ...asked, messages });
  assert.equal(second.content[0].text, "It rains.");
});

test("refusals have Anthropic's classes", async ({ anthropic }) => {
  await refused(anthropic.withOptions({ apiKey: "mr_wrong" }).messages.create(say("hello")), AuthenticationError, 401);
  const error = await refused(anthropic.messages.create({ ...say("hello"), max_tokens: undefined }), BadRequestError, 400);
  assert.equal(error.error.error.type, "invalid_request_error");
  assert.match(error.message, /max_tokens/);
  await refused(anthropic.messages.batches.retrieve(`msgbatch_${"0".repeat(32)}`), NotFoundError, 404);
});

test("over the limit is a RateLimitError, and its own retries get it past an overloaded provider", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { fail_first: 1, error_class: "overloaded", answer: "at last" } });
  const asked = say("hello", { millrace: { max_attempts: 1 } });
  assert.equal((await anthropic.withOptions({ maxRetries: 5 }).messages.create(asked)).content[0].text, "at last");
  await anthropic.messages.create(say("hello"));
  const error = await refused(anthropic.messages.create(say("hello")), RateLimitError, 429);
  assert.equal(error.error.error.type, "rate_limit_error");
}, { config: { tiers: { small: { submit: 3 } }, rates: { keys: { "*": "small" } } } });

test("an error within a stream is an error of the SDK", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { answer: "word ".repeat(100), chunk_bytes: 5, between_ms: 5, stream_error: { class: "bad_request", after_bytes: 2000 } } });
  const asked = say("hello", { stream: true, millrace: { max_attempts: 1 } });
  const error = await (async () => collect(await anthropic.messages.create(asked)))().then(() => assert.fail("no error"), (e) => e);
  assert.ok(error instanceof APIError, error.stack);
});

test("tokens are counted, and models are listed in Anthropic's form", async ({ anthropic }) => {
  const { max_tokens: _, ...counted } = say("hello ".repeat(100));
  assert.ok((await anthropic.messages.countTokens(counted)).input_tokens > 50);
  const models = await collect(anthropic.models.list());
  assert.deepEqual(models.map((m) => [m.type, m.id]).toSorted(), [["model", "default"], ["model", "sim"]]);
});

test("a batch of messages gives each result exactly once", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { echo: true, latency_ms: 20 } });
  const requests = Array.from({ length: 120 }, (_, i) => ({ custom_id: `r-${i}`, params: say(`number ${i}`) }));
  const made = await anthropic.messages.batches.create({ requests });
  assert.match(made.id, /^msgbatch_[0-9a-f]{32}$/);
  assert.equal(made.type, "message_batch");
  assert.equal(made.processing_status, "in_progress");
  const ended = await until(async () => {
    const batch = await anthropic.messages.batches.retrieve(made.id);
    return batch.processing_status === "ended" && batch;
  }, "the batch's end", 60);
  assert.deepEqual(ended.request_counts, { processing: 0, succeeded: 120, errored: 0, canceled: 0, expired: 0 });
  const results = await collect(await anthropic.messages.batches.results(made.id));
  assert.deepEqual(results.map((r) => r.custom_id).toSorted(), requests.map((r) => r.custom_id).toSorted());
  for (const { custom_id, result } of results) {
    assert.equal(result.type, "succeeded");
    assert.equal(result.message.content[0].text, custom_id.replace("r-", "number "));
  }
  assert.deepEqual((await collect(anthropic.messages.batches.list())).map((b) => b.id), [made.id]);
  assert.equal((await anthropic.messages.batches.delete(made.id)).type, "message_batch_deleted");
  await refused(anthropic.messages.batches.retrieve(made.id), NotFoundError);
});

test("a canceled batch of messages says what was canceled and what failed", async ({ anthropic, simulator }) => {
  await simulator.script({ "*": { latency_ms: 60000 }, quick: { answer: "quick" }, bad: { error_class: "bad_request" } });
  const ask = (custom_id, model) => ({ custom_id, params: { ...say("hello"), model } });
  const made = await anthropic.messages.batches.create({ requests: [ask("a", "default"), ask("b", "quick"), ask("c", "bad"), ask("d", "default")] });
  await until(async () => (await simulator.stats()).in_flight >= 2 && (await simulator.stats()).calls >= 4, "the calls being out");
  await refused(anthropic.messages.batches.delete(made.id), APIError); // it has not ended
  assert.equal((await anthropic.messages.batches.cancel(made.id)).processing_status, "canceling");
  const ended = await until(async () => {
    const batch = await anthropic.messages.batches.retrieve(made.id);
    return batch.processing_status === "ended" && batch;
  }, "the batch's end");
  assert.deepEqual(ended.request_counts, { processing: 0, succeeded: 1, errored: 1, canceled: 2, expired: 0 });
  const results = await collect(await anthropic.messages.batches.results(made.id));
  assert.deepEqual(Object.fromEntries(results.map((r) => [r.custom_id, r.result.type])), { a: "canceled", b: "succeeded", c: "errored", d: "canceled" });
});

test("what is wrong with a batch of messages is said at once", async ({ anthropic }) => {
  const one = { custom_id: "a", params: say("hello") };
  await refused(anthropic.messages.batches.create({ requests: [] }), BadRequestError);
  assert.match((await refused(anthropic.messages.batches.create({ requests: [one, one] }), BadRequestError)).message, /custom_id/);
});
