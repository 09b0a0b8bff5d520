// SPDX-License-Identifier: Apache-2.0
// Files and uploads through OpenAI's SDK.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { BadRequestError, ConflictError, NotFoundError, toFile } from "openai";
import { collect, jsonl, line, refused, test } from "./lib/harness.mjs";

const bytesOf = async (answer) => Buffer.from(await answer.arrayBuffer());

test("a file comes back byte by byte and is gone when it was deleted", async ({ openai }) => {
  const content = randomBytes(3_000_000);
  const made = await openai.files.create({ file: await toFile(content, "photo.bin"), purpose: "user_data" });
  assert.match(made.id, /^file-[0-9a-f]{32}$/);
  assert.equal(made.object, "file");
  assert.equal(made.bytes, content.length);
  assert.equal(made.filename, "photo.bin");
  assert.equal(made.purpose, "user_data");
  assert.equal(made.status, "processed");
  assert.ok(Math.abs(made.created_at - Date.now() / 1000) < 30);
  assert.deepEqual(await openai.files.retrieve(made.id), made);
  assert.deepEqual(await bytesOf(await openai.files.content(made.id)), content);
  const part = await openai.files.content(made.id, { headers: { Range: "bytes=1000000-1000099" } });
  assert.equal(part.status, 206);
  assert.deepEqual(await bytesOf(part), content.subarray(1000000, 1000100));
  assert.deepEqual(await openai.files.delete(made.id), { id: made.id, object: "file", deleted: true });
  await refused(openai.files.retrieve(made.id), NotFoundError);
  await refused(openai.files.content(made.id), NotFoundError);
  await refused(openai.files.delete(made.id), NotFoundError);
});

test("an empty file and a name with accents are kept", async ({ openai }) => {
  const made = await openai.files.create({ file: await toFile(Buffer.alloc(0), 'Über alles, 100%.txt'), purpose: "user_data" });
  assert.equal(made.bytes, 0);
  assert.equal(made.filename, 'Über alles, 100%.txt');
  assert.equal((await bytesOf(await openai.files.content(made.id))).length, 0);
});

test("expires_after and the purpose say how long a file is kept", async ({ openai }) => {
  const file = () => toFile(Buffer.from(jsonl([line("a")])), "in.jsonl");
  const hour = await openai.files.create({ file: await file(), purpose: "user_data", expires_after: { anchor: "created_at", seconds: 3600 } });
  assert.equal(hour.expires_at, hour.created_at + 3600);
  const batch = await openai.files.create({ file: await file(), purpose: "batch" });
  assert.equal(batch.expires_at, batch.created_at + 30 * 86400);
  const kept = await openai.files.create({ file: await file(), purpose: "evals" });
  assert.equal(kept.expires_at ?? null, null);
  const short = { file: await file(), purpose: "user_data", expires_after: { anchor: "created_at", seconds: 60 } };
  const error = await refused(openai.files.create(short), BadRequestError);
  assert.match(error.param, /expires_after/);
});

test("lists go by purpose, order and page", async ({ openai }) => {
  const ids = [];
  for (let i = 0; i < 5; i++) {
    const purpose = i % 2 ? "vision" : "user_data";
    ids.push((await openai.files.create({ file: await toFile(Buffer.from(`${i}`), `${i}.txt`), purpose })).id);
  }
  assert.deepEqual((await collect(openai.files.list())).map((f) => f.id), ids.toReversed());
  assert.deepEqual((await collect(openai.files.list({ limit: 2, order: "asc" }))).map((f) => f.id), ids);
  assert.deepEqual((await collect(openai.files.list({ purpose: "vision", order: "asc" }))).map((f) => f.id), [ids[1], ids[3]]);
  const page = await openai.files.list({ limit: 2, order: "asc", after: ids[1] });
  assert.deepEqual(page.data.map((f) => f.id), [ids[2], ids[3]]);
  assert.equal(page.has_more, true);
});

test("what is wrong with an upload is a BadRequestError that says so", async ({ openai }) => {
  const text = await toFile(Buffer.from("hello"), "notes.txt");
  assert.match((await refused(openai.files.create({ file: text, purpose: "nonsense" }), BadRequestError)).message, /purpose/);
  assert.match((await refused(openai.files.create({ file: text, purpose: "batch" }), BadRequestError)).message, /jsonl/);
  await refused(openai.files.create({ file: text }), BadRequestError);
  await refused(openai.files.retrieve("file-0"), NotFoundError);
  await refused(openai.files.list({ limit: 0 }), BadRequestError);
});

test("an upload in parts becomes one file, in the order that is asked for", async ({ openai }) => {
  const [a, b] = [randomBytes(1_500_000), randomBytes(700_001)];
  const upload = await openai.uploads.create({ bytes: a.length + b.length, filename: "big.bin", mime_type: "application/octet-stream", purpose: "user_data" });
  assert.match(upload.id, /^upload_[0-9a-f]{32}$/);
  assert.equal(upload.status, "pending");
  assert.ok(upload.expires_at > upload.created_at);
  const second = await openai.uploads.parts.create(upload.id, { data: await toFile(b, "b") });
  const first = await openai.uploads.parts.create(upload.id, { data: await toFile(a, "a") });
  assert.equal(first.upload_id, upload.id);
  assert.equal(first.object, "upload.part");
  await refused(openai.uploads.complete(upload.id, { part_ids: [first.id] }), BadRequestError); // too few bytes
  const done = await openai.uploads.complete(upload.id, { part_ids: [first.id, second.id] });
  assert.equal(done.status, "completed");
  assert.equal(done.file.bytes, a.length + b.length);
  assert.deepEqual(await bytesOf(await openai.files.content(done.file.id)), Buffer.concat([a, b]));
});

test("an upload that was cancelled takes nothing more", async ({ openai }) => {
  const upload = await openai.uploads.create({ bytes: 10, filename: "x.txt", mime_type: "text/plain", purpose: "assistants" });
  assert.equal((await openai.uploads.cancel(upload.id)).status, "cancelled");
  const late = openai.uploads.parts.create(upload.id, { data: await toFile(Buffer.from("late"), "x") });
  const error = await late.then(() => assert.fail("taken"), (e) => e);
  assert.ok(error instanceof BadRequestError || error instanceof ConflictError, error.stack);
  const none = openai.uploads.parts.create(`upload_${"0".repeat(32)}`, { data: await toFile(Buffer.from("x"), "x") });
  await refused(none, NotFoundError);
});
