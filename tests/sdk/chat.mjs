// SPDX-License-Identifier: Apache-2.0
// Chat completions, completions and models through OpenAI's SDK.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { APIUserAbortError, BadRequestError, NotFoundError } from "openai";
import { standardResponseFormat } from "openai/helpers/standard-schema";
import { collect, refused, test, until } from "./lib/harness.mjs";

const say = (content, more = {}) => ({ model: "default", messages: [{ role: "user", content }], ...more });
const TEXT = "Pack my box with five dozen liquor jugs. Ünïcödé: 🦑 \u201cquoted\u201d \\ and a\nline.";
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather at a place",
    parameters: { type: "object", properties: { city: { type: "string", description: "name of the city" } }, required: ["city"] },
  },
};

test("a chat is answered in OpenAI's form and its headers say how", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT } });
  const { data, response } = await openai.chat.completions.create(say("hello")).withResponse();
  assert.match(data.id, /^chatcmpl-[0-9a-f]{32}$/);
  assert.equal(data.object, "chat.completion");
  assert.ok(Math.abs(data.created - Date.now() / 1000) < 30);
  assert.equal(data.choices[0].message.content, TEXT);
  assert.equal(data.choices[0].message.role, "assistant");
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.equal(response.headers.get("x-millrace-job-id"), data.id.replace("chatcmpl-", "job_"));
  assert.equal(response.headers.get("x-millrace-level"), "primary");
  assert.equal(response.headers.get("x-millrace-target"), "sim");
  assert.equal(response.headers.get("x-millrace-attempts"), "1");
  assert.ok(Number(response.headers.get("x-millrace-cost-usd")) > 0);
  assert.ok(response.headers.get("x-request-id"));
  assert.equal(data._request_id, response.headers.get("x-request-id"));
});

test("a streamed chat says the same text as one that is not", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 5, between_ms: 5 } });
  const whole = await openai.chat.completions.create(say("hello"));
  const stream = await openai.chat.completions.create(say("hello", { stream: true, stream_options: { include_usage: true } }));
  const chunks = await collect(stream);
  assert.ok(chunks.length > 5);
  assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  assert.match(chunks[0].id, /^chatcmpl-/);
  assert.ok(chunks.every((c) => c.object === "chat.completion.chunk"));
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.deepEqual(chunks.flatMap((c) => c.choices.map((x) => x.finish_reason)).filter(Boolean), ["stop"]);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, whole.usage.completion_tokens);
  assert.ok(chunks.slice(0, -1).every((c) => c.usage === null));
});

test("without include_usage no chunk has a usage", async ({ openai }) => {
  const chunks = await collect(await openai.chat.completions.create(say("hello", { stream: true })));
  assert.ok(chunks.every((c) => !("usage" in c) && c.choices.length === 1));
});

test("the stream helper puts the answer together", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 7 } });
  const runner = openai.chat.completions.stream(say("hello", { stream_options: { include_usage: true } }));
  let text = "";
  runner.on("content", (delta) => (text += delta));
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, TEXT);
  assert.equal(text, TEXT);
  assert.ok((await runner.totalUsage()).completion_tokens > 0);
});

test("a stream whose client leaves frees the upstream call and cancels the job", async ({ openai, stack, simulator }) => {
  await simulator.script({ "*": { answer: "word ".repeat(500), chunk_bytes: 5, between_ms: 100 } });
  const stream = await openai.chat.completions.create(say("hello", { stream: true }));
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  await until(async () => (await simulator.calls()).some((c) => c.canceled), "the upstream call being left");
  await until(async () => (await stack.sql("select status from outcome")).length === 1, "the job's end");
  assert.equal((await simulator.stats()).in_flight, 0);
});

test("a chat whose client leaves is canceled too", async ({ openai, stack, simulator }) => {
  await simulator.script({ "*": { latency_ms: 60000 } });
  const controller = new AbortController();
  const asked = openai.chat.completions.create(say("hello"), { signal: controller.signal });
  await until(async () => (await simulator.stats()).in_flight === 1, "the call being out");
  controller.abort();
  await refused(asked, APIUserAbortError);
  await until(async () => (await simulator.stats()).in_flight === 0, "the call being left");
  await until(async () => (await stack.sql("select status from outcome")).length === 1, "the job's end");
});

test("a keyed chat survives a dropped connection and its repeat makes no second call", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 1500, answer: "once" } });
  const keyed = { headers: { "Idempotency-Key": "rivers-1" } };
  const controller = new AbortController();
  const dropped = openai.chat.completions.create(say("hello"), { ...keyed, signal: controller.signal });
  await until(async () => (await simulator.stats()).in_flight === 1, "the call being out");
  controller.abort();
  await refused(dropped, APIUserAbortError);
  const { data, response } = await openai.chat.completions.create(say("hello"), keyed).withResponse();
  assert.equal(response.headers.get("idempotent-replayed"), "true");
  assert.equal(data.choices[0].message.content, "once");
  const again = await openai.chat.completions.create(say("hello"), keyed);
  assert.equal(again.id, data.id);
  assert.equal((await simulator.stats()).calls, 1);
});

test("tools are called, and the helper runs them", async ({ openai, simulator }) => {
  await simulator.script({ "*": { tool_call: true } });
  const asked = await openai.chat.completions.create(say("What is the weather? City: Paris", { tools: [WEATHER] }));
  const [call] = asked.choices[0].message.tool_calls;
  assert.equal(asked.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "get_weather");
  assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
  const streamed = await collect(await openai.chat.completions.create(say("What is the weather? City: Paris", { tools: [WEATHER], stream: true })));
  const parts = streamed.flatMap((c) => c.choices[0]?.delta.tool_calls ?? []);
  assert.equal(parts.map((p) => p.function?.name ?? "").join(""), "get_weather");
  assert.equal(parts.map((p) => p.function?.arguments ?? "").join(""), call.function.arguments);
  const cities = [];
  const weather = ({ city }) => {
    cities.push(city);
    simulator.script({ "*": { tool_call: null, answer: "It rains." } });
    return sleep(100, "rain");
  };
  const runner = openai.chat.completions.runTools(
    say("What is the weather? City: Paris", { tools: [{ type: "function", function: { ...WEATHER.function, function: weather, parse: JSON.parse } }] }),
  );
  assert.equal(await runner.finalContent(), "It rains.");
  assert.equal(cities.length, 1);
});

test("structured output is parsed by the SDK's helper", async ({ openai }) => {
  const json = { type: "object", properties: { title: { type: "string", description: "title of the text" } }, required: ["title"], additionalProperties: false };
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => (typeof value?.title === "string" ? { value } : { issues: [{ message: "no title" }] }),
      jsonSchema: { input: () => json, output: () => json },
    },
  };
  const asked = say("The Art of Rivers\n\nRivers flow to the sea.", { response_format: standardResponseFormat(schema, "book") });
  const parsed = (await openai.chat.completions.parse(asked)).choices[0].message.parsed;
  assert.equal(typeof parsed.title, "string");
  assert.ok(parsed.title.length > 0);
});

test("images, several choices and stop words reach the provider", async ({ openai }) => {
  const image = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const content = [{ type: "text", text: "What is that?" }, { type: "image_url", image_url: { url: image } }];
  const answer = await openai.chat.completions.create(say(content, { stop: ["END"], temperature: 0 }));
  assert.ok(answer.choices[0].message.content.length > 0);
});

const token = (text) => ({ token: text, logprob: -0.5, bytes: null, top_logprobs: [] });
const choice = (text, index) => ({
  index, message: { role: "assistant", content: text, refusal: null }, finish_reason: "stop", logprobs: { content: text.split(/(?= )/).map(token), refusal: null },
});

test("several choices with log probabilities are put together by the stream helper as they are without stream", async ({ openai, simulator }) => {
  const texts = ["one river", "two", "three lakes"];
  await simulator.script({ "*": { raw_body: JSON.stringify({ id: "x", object: "chat.completion", model: "sim-extract", choices: texts.map(choice) }) } });
  const asked = say("hello", { n: 3, logprobs: true });
  const whole = await openai.chat.completions.create(asked);
  const final = await openai.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(final.choices.map((c) => c.message.content), texts);
  assert.deepEqual(final.choices.map((c) => c.logprobs.content), whole.choices.map((c) => c.logprobs.content));
  assert.deepEqual(final.choices.map((c) => c.finish_reason), ["stop", "stop", "stop"]);
});

test("code that was written for functions goes on working, streamed and not", async ({ openai, simulator }) => {
  await simulator.script({ "*": { tool_call: true, chunk_bytes: 3 } });
  const asked = say("What is the weather? City: Paris", { functions: [WEATHER.function], function_call: "auto" });
  const [{ message, finish_reason }] = (await openai.chat.completions.create(asked)).choices;
  assert.equal(finish_reason, "function_call");
  assert.equal(message.function_call.name, "get_weather");
  const final = await openai.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(final.choices[0].message.function_call, message.function_call);
  await simulator.script({ "*": { tool_call: null, answer: "It rains." } });
  const messages = [...asked.messages, message, { role: "function", name: "get_weather", content: "rain" }];
  const answer = await openai.chat.completions.create({ ...asked, messages });
  assert.equal(answer.choices[0].message.content, "It rains.");
});

test("metadata and user are the job's", async ({ openai, stack }) => {
  await openai.chat.completions.create(say("hello", { metadata: { customer: "acme" }, user: "alice" }));
  const [[metadata, user]] = await stack.sql("select metadata::text, user_ref from job");
  assert.equal(JSON.parse(metadata).customer, "acme");
  assert.equal(user, "alice");
});

test("what millrace can do more is said in the body", async ({ openai, stack }) => {
  await openai.chat.completions.create(say("hello", { millrace: { priority: 1, max_attempts: 2 } }));
  assert.deepEqual(await stack.sql("select priority, max_attempts from job"), [[1, 2]]);
  const error = await refused(openai.chat.completions.create(say("hello", { millrace: { priority: 99 } })), BadRequestError);
  assert.equal(error.param, "millrace.priority");
});

test("64 chats at once are all in flight together", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 200, echo: true } });
  const answers = await Promise.all(Array.from({ length: 64 }, (_, i) => openai.chat.completions.create(say(`number ${i}`))));
  assert.deepEqual(answers.map((a) => a.choices[0].message.content), answers.map((_, i) => `number ${i}`));
  assert.equal(new Set(answers.map((a) => a.id)).size, 64);
  const stats = await simulator.stats();
  assert.equal(stats.calls, 64);
  assert.ok(stats.peak_in_flight >= 16, `at most ${stats.peak_in_flight} at once`);
});

test("legacy completions, streamed and not", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 6 } });
  const whole = await openai.completions.create({ model: "default", prompt: "Say something", max_tokens: 50 });
  assert.equal(whole.object, "text_completion");
  assert.equal(whole.choices[0].text, TEXT);
  const chunks = await collect(await openai.completions.create({ model: "default", prompt: "Say something", max_tokens: 50, stream: true }));
  assert.equal(chunks.map((c) => c.choices[0]?.text ?? "").join(""), TEXT);
  const error = await refused(openai.completions.create({ model: "default", prompt: ["one", "two"] }), BadRequestError);
  assert.equal(error.param, "prompt");
});

test("models are the routes and targets", async ({ openai }) => {
  const ids = (await collect(openai.models.list())).map((m) => m.id);
  assert.deepEqual(ids.toSorted(), ["default", "sim"]);
  const one = await openai.models.retrieve("sim");
  assert.equal(one.object, "model");
  assert.equal(one.owned_by, "openai");
  await refused(openai.chat.completions.create({ ...say("hello"), model: undefined }), BadRequestError);
});

test("a model that nobody knows is refused by its name", async ({ openai }) => {
  await refused(openai.models.retrieve("no-such-model"), NotFoundError);
  const error = await refused(openai.chat.completions.create({ ...say("hello"), model: "no-such-model" }), NotFoundError);
  assert.equal(error.param, "model");
  assert.equal(error.code, "model_not_found");
}, { config: { models: null } });
