// SPDX-License-Identifier: Apache-2.0
// Webhooks of jobs that came by OpenAI's face, as its SDK unwraps them.
import assert from "node:assert/strict";
import { InvalidWebhookSignatureError, toFile } from "openai";
import { jsonl, line, receiver, refused, test, until } from "./lib/harness.mjs";

test("the SDK accepts response.completed and response.failed", async ({ openai, simulator }) => {
  const hook = await receiver();
  try {
    await simulator.script({ "*": { answer: "ok" }, bad: { error_class: "bad_request" } });
    const ask = (model) => openai.responses.create({ model, input: "hello", background: true, millrace: { webhook: { url: hook.url } } });
    for (const [model, type] of [["default", "response.completed"], ["bad", "response.failed"]]) {
      const made = await ask(model);
      await until(() => hook.got.length > 0, `${type} coming`);
      const { body, headers } = hook.got.shift();
      const event = await openai.webhooks.unwrap(body, headers);
      assert.equal(event.type, type);
      assert.equal(event.object, "event");
      assert.match(event.id, /^evt_/);
      assert.equal(event.data.id, made.id);
      assert.ok(Math.abs(event.created_at - Date.now() / 1000) < 60);
      const forged = body.replace(made.id, `resp_${"0".repeat(32)}`);
      await refused(openai.webhooks.unwrap(forged, headers), InvalidWebhookSignatureError);
    }
  } finally {
    hook.close();
  }
});

test("the SDK accepts batch.completed, told once and when the output is there", async ({ openai, simulator }) => {
  const hook = await receiver();
  try {
    await simulator.script({ "*": { answer: "ok" } });
    const file = await openai.files.create({ file: await toFile(Buffer.from(jsonl([line("a"), line("b")])), "in.jsonl"), purpose: "batch" });
    const order = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", millrace: { webhook: { url: hook.url } } };
    const made = await openai.batches.create(order);
    await until(() => hook.got.length > 0, "batch.completed coming");
    const event = await openai.webhooks.unwrap(hook.got[0].body, hook.got[0].headers);
    assert.equal(event.type, "batch.completed");
    assert.equal(event.data.id, made.id);
    const batch = await openai.batches.retrieve(event.data.id);
    assert.equal(batch.status, "completed");
    assert.ok(batch.output_file_id);
    assert.equal(hook.got.length, 1);
  } finally {
    hook.close();
  }
});
