// SPDX-License-Identifier: Apache-2.0
// A batch from a file as users run it, with OpenAI's SDK: upload, create, poll, download, and each custom_id exactly once. Prints a line of JSON.
//   node batch.mjs URL KEY MODEL LINES
import OpenAI, { toFile } from "openai";

const [url, apiKey, model, lines] = [process.argv[2], process.argv[3], process.argv[4], Number(process.argv[5])];
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, timeout: 600000 });
const seconds = (from) => (performance.now() - from) / 1000;

let text = "";
for (let i = 0; i < lines; i++) {
  const content = `${i} Each contributor grants a licence to the work. `.padEnd(300, "x");
  const body = { model, messages: [{ role: "user", content }], max_tokens: 64 };
  text += JSON.stringify({ custom_id: `line-${i}`, method: "POST", url: "/v1/chat/completions", body }) + "\n";
}
const from = performance.now();
const file = await openai.files.create({ file: await toFile(Buffer.from(text), "in.jsonl"), purpose: "batch" });
const { id } = await openai.batches.create({ input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
let batch, validated_s;
do {
  await new Promise((done) => setTimeout(done, 100));
  batch = await openai.batches.retrieve(id);
  if (batch.status !== "validating") validated_s ??= seconds(from);
} while (!["completed", "failed", "expired", "cancelled"].includes(batch.status));
const completed_s = seconds(from);
if (batch.request_counts.completed !== lines) throw new Error(`${batch.status}: ${JSON.stringify(batch.request_counts)} ${JSON.stringify(batch.errors)}`);
const output = (await (await openai.files.content(batch.output_file_id)).text()).trimEnd().split("\n");
const ids = new Set(output.map((line) => JSON.parse(line).custom_id));
if (output.length !== lines || ids.size !== lines) throw new Error(`${output.length} lines, ${ids.size} custom_ids`);
console.log(JSON.stringify({ validated_s, completed_s, downloaded_s: seconds(from) }));
