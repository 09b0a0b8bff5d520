// SPDX-License-Identifier: Apache-2.0
// Embeddings through OpenAI's SDK, which asks for base64 unless it is told otherwise.
import assert from "node:assert/strict";
import { BadRequestError } from "openai";
import { refused, test } from "./lib/harness.mjs";

test("embeddings in base64 are those in floats", async ({ openai }) => {
  const asked = { model: "default", input: ["The Rhine", "The Rhône", ""].slice(0, 2) };
  const floats = await openai.embeddings.create({ ...asked, encoding_format: "float" });
  const decoded = await openai.embeddings.create(asked); // the SDK asks for base64 and decodes it
  const raw = await openai.embeddings.create({ ...asked, encoding_format: "base64" });
  assert.equal(floats.data.length, 2);
  assert.equal(floats.object, "list");
  assert.ok(floats.usage.prompt_tokens > 0);
  for (const i of [0, 1]) {
    assert.equal(floats.data[i].index, i);
    const wanted = [...new Float32Array(floats.data[i].embedding)];
    assert.deepEqual(decoded.data[i].embedding, wanted);
    const bytes = Buffer.from(raw.data[i].embedding, "base64");
    assert.deepEqual([...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))], wanted);
  }
  assert.notDeepEqual(floats.data[0].embedding, floats.data[1].embedding);
});

test("dimensions are the caller's, and one text is a list of one", async ({ openai }) => {
  const answer = await openai.embeddings.create({ model: "default", input: "one text", dimensions: 64 });
  assert.equal(answer.data.length, 1);
  assert.equal(answer.data[0].embedding.length, 64);
});

test("what is wrong with the input is a BadRequestError that names it", async ({ openai }) => {
  assert.equal((await refused(openai.embeddings.create({ model: "default" }), BadRequestError)).param, "input");
  const error = await refused(openai.embeddings.create({ model: "default", input: "x", encoding_format: "hex" }), BadRequestError);
  assert.equal(error.param, "encoding_format");
});
