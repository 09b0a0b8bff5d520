// SPDX-License-Identifier: Apache-2.0
// Batches of files through OpenAI's SDK: upload, create, poll, download.
import assert from "node:assert/strict";
import { BadRequestError, NotFoundError, toFile } from "openai";
import { collect, jsonl, line, parseJsonl, refused, test, until } from "./lib/harness.mjs";

const OVER = ["completed", "failed", "expired", "cancelled"];

const upload = async (openai, lines) => (await openai.files.create({ file: await toFile(Buffer.from(jsonl(lines)), "in.jsonl"), purpose: "batch" })).id;

async function create(openai, lines, more = {}) {
  const input_file_id = await upload(openai, lines);
  return openai.batches.create({ input_file_id, endpoint: "/v1/chat/completions", completion_window: "24h", ...more });
}

const over = (openai, id, seconds = 60) => until(async () => {
  const batch = await openai.batches.retrieve(id);
  return OVER.includes(batch.status) && batch;
}, `the end of ${id}`, seconds);

const download = async (openai, id) => (id ? parseJsonl(await (await openai.files.content(id)).text()) : []);

/** Each line of both files, by custom_id; each of them once. */
async function results(openai, batch) {
  const [good, bad] = [await download(openai, batch.output_file_id), await download(openai, batch.error_file_id)];
  const all = [...good, ...bad];
  assert.equal(new Set(all.map((r) => r.custom_id)).size, all.length, "a custom_id stands there twice");
  return { good, bad, by: Object.fromEntries(all.map((r) => [r.custom_id, r])) };
}

const numbers = (n) => Array.from({ length: n }, (_, i) => `line-${i}`);

test("from upload to download every custom_id comes exactly once, though apis and workers are killed", async ({ openai, stack, simulator }) => {
  await simulator.script({ "*": { echo: true, latency_ms: 150, jitter_ms: 100 } });
  const ids = numbers(1000);
  const patient = openai.withOptions({ maxRetries: 10 });
  const made = await create(patient, ids.map((id) => line(id)));
  assert.equal(made.status, "validating");
  const kills = [["api", 0], ["worker", 0], ["api", 1], ["worker", 1], ["api", 0]];
  for (const [i, [kind, number]] of kills.entries()) {
    await until(async () => (await simulator.stats()).calls > i * 150, "more calls", 60);
    await stack.kill(kind, number);
    const polled = patient.batches.retrieve(made.id); // while it is away
    await stack.start(kind, number);
    assert.equal((await polled).id, made.id);
  }
  const done = await over(patient, made.id, 90);
  assert.equal(done.status, "completed");
  assert.deepEqual(done.request_counts, { total: 1000, completed: 1000, failed: 0 });
  assert.equal(done.error_file_id ?? null, null);
  const { good, by } = await results(patient, done);
  assert.deepEqual(good.map((r) => r.custom_id).toSorted(), ids.toSorted());
  for (const id of ids) {
    assert.equal(by[id].response.status_code, 200);
    assert.equal(by[id].response.body.object, "chat.completion");
    assert.equal(by[id].response.body.choices[0].message.content, `say ${id}`);
    assert.equal(by[id].error, null);
  }
}, { apis: 2, workers: 2, config: { worker: { slots: 16 } } });

test("5,000 lines are validated, run and downloaded", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "ok", limit_requests: 1000000000, limit_tokens: 1000000000 } });
  const ids = numbers(5000);
  const done = await over(openai, (await create(openai, ids.map((id) => line(id)))).id, 100);
  assert.deepEqual(done.request_counts, { total: 5000, completed: 5000, failed: 0 });
  const { good } = await results(openai, done);
  assert.deepEqual(good.map((r) => r.custom_id).toSorted(), ids.toSorted());
});

test("a batch has OpenAI's members, its times and its usage", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "ok" } });
  const made = await create(openai, numbers(3).map((id) => line(id)), { metadata: { customer: "acme" } });
  assert.match(made.id, /^batch_[0-9a-f]{32}$/);
  assert.equal(made.object, "batch");
  assert.equal(made.endpoint, "/v1/chat/completions");
  assert.equal(made.completion_window, "24h");
  assert.equal(made.expires_at, made.created_at + 86400);
  assert.deepEqual(made.metadata, { customer: "acme" });
  const done = await over(openai, made.id);
  assert.equal(done.status, "completed");
  assert.ok(done.in_progress_at >= done.created_at && done.finalizing_at >= done.in_progress_at && done.completed_at >= done.finalizing_at);
  assert.equal(done.failed_at, null);
  assert.equal(done.usage.total_tokens, done.usage.input_tokens + done.usage.output_tokens);
  const { good } = await results(openai, done);
  assert.equal(done.usage.output_tokens, good.reduce((sum, r) => sum + r.response.body.usage.completion_tokens, 0));
  assert.match(good[0].id, /^batch_req_/);
  assert.ok(good[0].response.request_id);
  const file = await openai.files.retrieve(done.output_file_id);
  assert.equal(file.purpose, "batch_output");
});

test("failed lines are in the error file, with what the provider said", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "ok" }, bad: { error_class: "context_window" } });
  const done = await over(openai, (await create(openai, [line("a"), line("b", "x", { model: "bad" }), line("c")])).id);
  assert.equal(done.status, "completed");
  assert.deepEqual(done.request_counts, { total: 3, completed: 2, failed: 1 });
  const { good, bad } = await results(openai, done);
  assert.deepEqual(good.map((r) => r.custom_id), ["a", "c"]);
  assert.deepEqual(bad.map((r) => [r.custom_id, r.response?.status_code]), [["b", 400]]);
  assert.ok(bad[0].response.body.error.message.length > 0);
});

test("all faults of a file are told by their lines", async ({ openai }) => {
  const lines = [
    line("good"), "{this is not JSON", line("good"), { ...line("get"), method: "GET" }, { ...line("url"), url: "/v1/embeddings" },
    { ...line("far"), url: "/v1/nowhere" }, { method: "POST", url: "/v1/chat/completions", body: {} }, { custom_id: "bodiless", method: "POST", url: "/v1/chat/completions" },
    { ...line("no messages"), body: { model: "default" } }, { ...line("no model"), body: { messages: [{ role: "user", content: "x" }] } }, line("stranger", "x", { model: "nobody" }),
  ];
  const batch = await over(openai, (await create(openai, lines)).id);
  assert.equal(batch.status, "failed");
  assert.ok(batch.failed_at >= batch.created_at);
  assert.equal(batch.output_file_id ?? null, null);
  assert.equal(batch.errors.object, "list");
  const codes = Object.fromEntries(batch.errors.data.map((e) => [e.line, e.code]));
  assert.deepEqual(codes, {
    2: "invalid_json_line", 3: "duplicate_custom_id", 4: "invalid_method", 5: "url_mismatch", 6: "invalid_url", 7: "missing_required_parameter",
    8: "missing_required_parameter", 9: "invalid_request", 10: "invalid_request", 11: "model_not_found",
  });
  assert.ok(batch.errors.data.every((e) => e.message.length > 0 && "param" in e));
}, { config: { models: null } });

test("a line that is too long, or whose cost no cap can hold, is a fault", async ({ openai }) => {
  const lines = [line("bounded", "x", { max_tokens: 5 }), line("unbounded"), line("long", "x".repeat(3000), { max_tokens: 5 })];
  const batch = await over(openai, (await create(openai, lines, { millrace: { max_cost_usd: "1.00" } })).id);
  assert.equal(batch.status, "failed");
  assert.deepEqual(batch.errors.data.map((e) => [e.line, e.code]), [[2, "cost_unknown"], [3, "line_too_long"]]);
}, { config: { limits: { body_bytes: 2000 } } });

test("an empty file and one with too many lines fail as a whole", async ({ openai }) => {
  const empty = await openai.files.create({ file: await toFile(Buffer.from("\n"), "in.jsonl"), purpose: "batch" });
  const none = await over(openai, (await openai.batches.create({ input_file_id: empty.id, endpoint: "/v1/chat/completions", completion_window: "24h" })).id);
  assert.deepEqual([none.status, none.errors.data[0].code], ["failed", "empty_file"]);
  const many = await over(openai, (await create(openai, numbers(11).map((id) => line(id)))).id);
  assert.deepEqual([many.status, many.errors.data[0].code], ["failed", "too_many_tasks"]);
}, { config: { limits: { batch_file_lines: 10 } } });

test("what is wrong with the order itself is refused at once", async ({ openai }) => {
  const good = { input_file_id: await upload(openai, [line("a")]), endpoint: "/v1/chat/completions", completion_window: "24h" };
  assert.equal((await refused(openai.batches.create({ ...good, endpoint: "/v1/nowhere" }), BadRequestError)).param, "endpoint");
  assert.equal((await refused(openai.batches.create({ ...good, completion_window: "soon" }), BadRequestError)).param, "completion_window");
  assert.equal((await refused(openai.batches.create({ ...good, input_file_id: undefined }), BadRequestError)).param, "input_file_id");
  const missing = await openai.batches.create({ ...good, input_file_id: `file-${"0".repeat(32)}` }).then(() => assert.fail("taken"), (e) => e);
  assert.ok(missing instanceof NotFoundError || missing instanceof BadRequestError, missing.stack);
});

test("canceled at half, what was done is in the output", async ({ openai, simulator }) => {
  await simulator.script({ "*": { echo: true, latency_ms: 50 } });
  const made = await create(openai, numbers(400).map((id) => line(id)));
  await until(async () => (await openai.batches.retrieve(made.id)).request_counts.completed >= 100, "a quarter of it");
  const canceled = await openai.batches.cancel(made.id);
  assert.ok(["cancelling", "cancelled"].includes(canceled.status));
  const done = await over(openai, made.id);
  assert.equal(done.status, "cancelled");
  assert.ok(done.cancelled_at >= done.cancelling_at);
  const { completed, total } = done.request_counts;
  assert.ok(total === 400 && completed >= 100 && completed < 400, JSON.stringify(done.request_counts));
  const { good, bad } = await results(openai, done);
  assert.equal(good.length, completed);
  assert.ok(good.length + bad.length <= 400); // what was no job yet is in no file
  assert.ok(bad.every((r) => r.error.code === "batch_cancelled" && r.response === null));
}, { config: { worker: { slots: 4 } } });

test("past its window it is expired, with what was done", async ({ openai, stack, simulator }) => {
  await simulator.script({ "*": { latency_ms: 600000 }, quick: { answer: "quick" } });
  const made = await create(openai, [line("a", "x", { model: "quick" }), line("b"), line("c", "x", { model: "quick" }), line("d")], { completion_window: "1m" });
  assert.equal(made.expires_at, made.created_at + 60);
  await until(async () => (await openai.batches.retrieve(made.id)).request_counts.completed === 2, "the quick ones");
  const done = await over(openai, made.id, 90);
  assert.equal(done.status, "expired");
  assert.ok(done.expired_at >= made.expires_at);
  const { good, by } = await results(openai, done);
  assert.deepEqual(good.map((r) => r.custom_id), ["a", "c"]);
  assert.deepEqual(["b", "d"].map((id) => by[id].error.code), ["batch_expired", "batch_expired"]);
  assert.equal((await simulator.stats()).in_flight, 0);
  assert.equal((await stack.sql("select count(*) from lease"))[0][0], 0);
}, { config: { timeout: { total: "10m", first_token: "10m" } } });

test("batches of responses, embeddings and completions", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "ok" } });
  const run = async (endpoint, body) => {
    const lines = ["x", "y"].map((custom_id) => ({ custom_id, method: "POST", url: endpoint, body: { model: "default", ...body } }));
    const done = await over(openai, (await create(openai, lines, { endpoint })).id);
    assert.equal(done.status, "completed", JSON.stringify(done.errors));
    return (await results(openai, done)).by.y.response.body;
  };
  const response = await run("/v1/responses", { input: "hello" });
  assert.equal(response.object, "response");
  assert.equal(response.output[0].content[0].text, "ok");
  const embeddings = await run("/v1/embeddings", { input: "hello", dimensions: 8 });
  assert.equal(embeddings.data[0].embedding.length, 8);
  const completion = await run("/v1/completions", { prompt: "hello" });
  assert.equal(completion.choices[0].text, "ok");
});

test("lists go by page, the newest first", async ({ openai }) => {
  const input_file_id = await upload(openai, [line("a")]);
  const ids = [];
  for (let i = 0; i < 5; i++) ids.push((await openai.batches.create({ input_file_id, endpoint: "/v1/chat/completions", completion_window: "24h" })).id);
  assert.deepEqual((await collect(openai.batches.list({ limit: 2 }))).map((b) => b.id), ids.toReversed());
  const page = await openai.batches.list({ limit: 2, after: ids[3] });
  assert.deepEqual([page.data.map((b) => b.id), page.has_more], [[ids[2], ids[1]], true]);
});

test("beyond OpenAI: an estimate first, a cap, results while it runs, a retry of what failed", async ({ openai, simulator }) => {
  await simulator.script({ "*": { answer: "ok" }, flaky: { status_sequence: [400, 200] } });
  const lines = [line("a"), line("b", "x", { model: "flaky" })];
  const dry = await over(openai, (await create(openai, lines, { millrace: { dry_run: true } })).id);
  assert.equal(dry.status, "completed");
  assert.ok(Number(dry.millrace.estimated_cost_usd) > 0);
  assert.equal((await simulator.stats()).calls, 0);
  const failed = await over(openai, (await create(openai, lines)).id);
  assert.deepEqual(failed.request_counts, { total: 2, completed: 1, failed: 1 });
  const live = await openai.get(`/batches/${failed.id}/results`, { __binaryResponse: true });
  assert.deepEqual(parseJsonl(await live.text()).map((r) => r.custom_id ?? r.index), ["a", "b"]);
  await openai.post(`/batches/${failed.id}/retry`);
  const done = await until(async () => {
    const batch = await openai.batches.retrieve(failed.id);
    return batch.status === "completed" && batch.request_counts.completed === 2 && batch;
  }, "the retried batch's end");
  const { good } = await results(openai, done);
  assert.deepEqual(good.map((r) => r.custom_id), ["a", "b"]);
  const capped = { millrace: { max_cost_usd: "0.0000001" } };
  const bounded = ["a", "b"].map((id) => line(id, "hello", { max_tokens: 5 }));
  const stopped = await over(openai, (await create(openai, bounded, capped)).id);
  assert.equal(stopped.millrace.capped, true);
  assert.equal(stopped.millrace.cost_usd, "0.000000");
});
