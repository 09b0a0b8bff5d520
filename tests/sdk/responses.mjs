// SPDX-License-Identifier: Apache-2.0
// Responses through OpenAI's SDK.
import assert from "node:assert/strict";
import { BadRequestError, NotFoundError, APIError } from "openai";
import { standardTextFormat } from "openai/helpers/standard-schema";
import { collect, refused, test, until } from "./lib/harness.mjs";

const TEXT = "Pack my box with five dozen liquor jugs. Ünïcödé: 🦑 \u201cquoted\u201d \\ and a\nline.";
const TOOL = {
  type: "function",
  name: "get_weather",
  strict: false,
  parameters: { type: "object", properties: { city: { type: "string", description: "name of the city" } }, required: ["city"] },
};
/* They count bytes, so that a stream goes on anywhere: there are gaps. */
const rises = (events) => events.forEach((e, i) => assert.ok(e.sequence_number > (i ? events[i - 1].sequence_number : -1), `event ${i}`));
const over = (r) => !["queued", "in_progress"].includes(r.status);
const ended = (openai, id) => until(async () => {
  const r = await openai.responses.retrieve(id);
  return over(r) && r;
}, "the response's end");

test("a response is answered at its end and can be read again", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT } });
  const { data, response } = await openai.responses.create({ model: "default", input: "hello", instructions: "Be brief." }).withResponse();
  assert.match(data.id, /^resp_[0-9a-f]{32}$/);
  assert.equal(data.object, "response");
  assert.equal(data.status, "completed");
  assert.equal(data.output_text, TEXT);
  assert.equal(data.instructions, "Be brief.");
  assert.equal(data.usage.total_tokens, data.usage.input_tokens + data.usage.output_tokens);
  assert.equal(response.headers.get("x-millrace-job-id"), data.id.replace("resp_", "job_"));
  const again = await openai.responses.retrieve(data.id);
  assert.deepEqual({ ...again, _request_id: 0 }, { ...data, _request_id: 0 });
});

test("a streamed response says the same text, in numbered events", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 5, between_ms: 5 } });
  const events = await collect(await openai.responses.create({ model: "default", input: "hello", stream: true }));
  rises(events);
  assert.equal(events[0].type, "response.created");
  assert.equal(events[1].type, "response.in_progress");
  const text = events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join("");
  assert.equal(text, TEXT);
  assert.equal(events.find((e) => e.type === "response.output_text.done").text, TEXT);
  const last = events.at(-1);
  assert.equal(last.type, "response.completed");
  assert.equal(last.response.status, "completed");
  const whole = await openai.responses.retrieve(last.response.id);
  assert.equal(whole.output_text, TEXT);
});

test("the stream helper puts the response together", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 7 } });
  const final = await openai.responses.stream({ model: "default", input: "hello" }).finalResponse();
  assert.equal(final.output_text, TEXT);
});

test("in the background: created, polled, canceled", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 60000 } });
  const made = await openai.responses.create({ model: "default", input: "hello", background: true });
  assert.ok(["queued", "in_progress"].includes(made.status), made.status);
  assert.equal(made.background, true);
  assert.deepEqual(made.output, []);
  await until(async () => (await openai.responses.retrieve(made.id)).status === "in_progress", "the response running");
  const canceled = await openai.responses.cancel(made.id);
  assert.ok(["cancelled", "in_progress"].includes(canceled.status), canceled.status);
  assert.equal((await ended(openai, made.id)).status, "cancelled");
  assert.equal((await openai.responses.cancel(made.id)).status, "cancelled"); // again
  await until(async () => (await simulator.stats()).in_flight === 0, "the upstream call being left");
});

test("in the background: created, polled, completed", async ({ openai, simulator }) => {
  await simulator.script({ "*": { latency_ms: 300, answer: TEXT } });
  const made = await openai.responses.create({ model: "default", input: "hello", background: true, metadata: { customer: "acme" } });
  const done = await ended(openai, made.id);
  assert.equal(done.status, "completed");
  assert.equal(done.output_text, TEXT);
  assert.deepEqual(done.metadata, { customer: "acme" });
  await refused(openai.responses.cancel((await openai.responses.create({ model: "default", input: "x" })).id), BadRequestError); // not in the background
});

test("a background stream goes on after any of its events", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: TEXT, chunk_bytes: 4, between_ms: 60 } });
  const first = [];
  for await (const event of await openai.responses.create({ model: "default", input: "hello", background: true, stream: true })) {
    first.push(event);
    if (event.type === "response.output_text.delta" && first.length > 6) break; // the connection is lost
  }
  const id = first[0].response.id;
  const rest = await collect(await openai.responses.retrieve(id, { stream: true, starting_after: first.at(-1).sequence_number }));
  const all = [...first, ...rest];
  rises(all);
  assert.equal(all.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join(""), TEXT);
  assert.equal(all.at(-1).type, "response.completed");
  const late = await collect(await openai.responses.retrieve(id, { stream: true, starting_after: first.at(-1).sequence_number })); // after its end
  assert.equal(late.at(-1).type, "response.completed");
  assert.ok(late[0].sequence_number > first.at(-1).sequence_number);
  const resumed = [...first, ...late].filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join("");
  assert.equal(resumed, TEXT);
});

test("a conversation goes on with previous_response_id, and its items can be read", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "I am a river." } });
  const first = await openai.responses.create({ model: "default", input: "Who are you?" });
  await simulator.script({ "*": { answer: null, echo: true } });
  const input = [{ role: "user", content: [{ type: "input_text", text: "And what did I ask?" }] }];
  const second = await openai.responses.create({ model: "default", input, previous_response_id: first.id });
  assert.equal(second.previous_response_id, first.id);
  assert.equal(second.output_text, "And what did I ask?");
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  const items = await collect(openai.responses.inputItems.list(second.id, { order: "asc" }));
  assert.equal(items.at(-1).content[0].text, "And what did I ask?");
  assert.ok(JSON.stringify(items).includes("I am a river."));
  await refused(openai.responses.create({ model: "default", input: "x", previous_response_id: `resp_${"0".repeat(32)}` }), APIError);
});

test("tools are called and their outputs go back", async ({ openai, simulator }) => {
  await simulator.script({ "*": { tool_call: true } });
  const asked = { model: "default", input: "What is the weather? City: Paris", tools: [TOOL] };
  const first = await openai.responses.create(asked);
  const call = first.output.find((item) => item.type === "function_call");
  assert.equal(call.name, "get_weather");
  assert.equal(typeof JSON.parse(call.arguments).city, "string");
  const events = await collect(await openai.responses.create({ ...asked, stream: true }));
  assert.equal(events.filter((e) => e.type === "response.function_call_arguments.delta").map((e) => e.delta).join(""), call.arguments);
  await simulator.script({ "*": { tool_call: null, answer: "It rains." } });
  const output = { type: "function_call_output", call_id: call.call_id, output: "rain" };
  const second = await openai.responses.create({ model: "default", previous_response_id: first.id, input: [output], tools: [TOOL] });
  assert.equal(second.output_text, "It rains.");
});

test("the whole output goes back as input, with its ids and what was reasoned", async ({ openai, simulator }) => {
  await simulator.script({ "*": { tool_call: true, thinking: "Paris, then." } });
  const asked = { model: "default", tools: [TOOL], store: false, include: ["reasoning.encrypted_content"], reasoning: { effort: "low" } };
  const input = [{ role: "user", content: "What is the weather? City: Paris" }];
  const first = await openai.responses.create({ ...asked, input });
  assert.deepEqual(first.output.map((item) => item.type), ["reasoning", "function_call"]);
  input.push(...first.output);
  for (const call of first.output.filter((item) => item.type === "function_call"))
    input.push({ type: "function_call_output", call_id: call.call_id, output: [{ type: "input_text", text: "rain" }] });
  await simulator.script({ "*": { tool_call: null, answer: "It rains." } });
  const second = await openai.responses.create({ ...asked, input });
  assert.deepEqual(second.output.map((item) => item.type), ["reasoning", "message"]);
  await simulator.script({ "*": { answer: null, thinking: null, echo: true } });
  const streamed = await openai.responses.stream({ ...asked, input: [...input, ...second.output, { role: "user", content: "Again?" }] }).finalResponse();
  assert.equal(streamed.output_text, "Again?");
  assert.equal((await openai.responses.create({ model: "default", input: [...streamed.output, { role: "user", content: "And now?" }] })).output_text, "And now?");
});

test("structured output is parsed by the SDK's helper", async ({ openai }) => {
  const json = { type: "object", properties: { title: { type: "string", description: "title of the text" } }, required: ["title"], additionalProperties: false };
  const validate = (value) => (typeof value?.title === "string" ? { value } : { issues: [{ message: "no title" }] });
  const schema = { "~standard": { version: 1, vendor: "test", validate, jsonSchema: { input: () => json, output: () => json } } };
  const parsed = await openai.responses.parse({ model: "default", input: "The Art of Rivers\n\nRivers flow.", text: { format: standardTextFormat(schema, "book") } });
  assert.equal(typeof parsed.output_parsed.title, "string");
});

test("what was not stored cannot be read, and what is deleted is gone", async ({ openai }) => {
  const unstored = await openai.responses.create({ model: "default", input: "hello", store: false });
  assert.equal(unstored.status, "completed");
  await refused(openai.responses.retrieve(unstored.id), NotFoundError);
  const kept = await openai.responses.create({ model: "default", input: "hello" });
  await openai.responses.delete(kept.id);
  await refused(openai.responses.retrieve(kept.id), NotFoundError);
  await refused(openai.responses.delete(kept.id), NotFoundError);
  await refused(openai.responses.retrieve("resp_nonsense"), NotFoundError);
});

test("a response that fails in the background says why", async ({ openai, simulator }) => {
  await simulator.script({ "*": { error_class: "bad_request" } });
  const made = await openai.responses.create({ model: "default", input: "hello", background: true });
  const failed = await ended(openai, made.id);
  assert.equal(failed.status, "failed");
  assert.ok(failed.error.message.length > 0);
  assert.ok(["server_error", "invalid_prompt", "rate_limit_exceeded"].includes(failed.error.code));
  await refused(openai.responses.create({ model: "default", input: "hello" }), BadRequestError);
});

test("images and files by their ids are part of the input", async ({ openai }) => {
  const file = await openai.files.create({ file: new File(["The Rhine flows to the sea."], "rhine.txt", { type: "text/plain" }), purpose: "user_data" });
  const image = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
  const content = [{ type: "input_text", text: "What is that?" }, { type: "input_image", image_url: image, detail: "auto" }, { type: "input_file", file_id: file.id }];
  const answer = await openai.responses.create({ model: "default", input: [{ role: "user", content }] });
  assert.equal(answer.status, "completed");
  const missing = [{ type: "input_file", file_id: `file-${"0".repeat(32)}` }];
  await refused(openai.responses.create({ model: "default", input: [{ role: "user", content: missing }] }), APIError);
});
