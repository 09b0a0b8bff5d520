// SPDX-License-Identifier: Apache-2.0
// graphile-worker on the same cluster: JOBS jobs, each one `fetch` to the simulator, tuned as its documentation says (batched local queue, a high
// concurrency, preset getQueueNameBatchDelay and completeJobBatchDelay). Prints one JSON line: jobs per second from the first add to the last completion.
//   node graphile.mjs DATABASE_URL SIMULATOR_URL JOBS
import { run, makeWorkerUtils } from "graphile-worker";

const [url, simulator, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const text = "Each contributor grants a licence to the work. ".repeat(43);
const request = (i) => ({ model: "fixed", messages: [{ role: "user", content: `${i} ${text}` }], max_tokens: 64 });

const utils = await makeWorkerUtils({ connectionString: url });
await utils.migrate();
let done = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const start = performance.now();
await utils.withPgClient(async (pg) => {
  for (let at = 0; at < count; at += 500) {
    const specs = [];
    for (let i = at; i < Math.min(at + 500, count); i++) specs.push({ identifier: "call", payload: request(i) });
    await pg.query("select graphile_worker.add_jobs(array(select json_populate_recordset(null::graphile_worker.job_spec, $1::json)))", [JSON.stringify(specs)]);
  }
});
const runner = await run({
  connectionString: url,
  noHandleSignals: true,
  logger: new (await import("graphile-worker")).Logger(() => () => {}),
  preset: {
    worker: {
      concurrentJobs: 96,
      maxPoolSize: 20,
      pollInterval: 100,
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      localQueue: { size: 500, refetchDelay: { durationMs: 0 } },
    },
  },
  taskList: {
    call: async (payload) => {
      const r = await fetch(`${simulator}/v1/chat/completions`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(payload),
      });
      const answer = await r.json();
      if (!answer.choices) throw new Error("no answer");
      if (++done === count) finish();
    },
  },
});
await finished;
const pool = await utils.withPgClient(async (pg) => {
  for (;;) {
    const { rows } = await pg.query("select count(*)::int as n from graphile_worker.jobs");
    if (rows[0].n === 0) return true;
    await new Promise((r) => setTimeout(r, 5));
  }
});
const seconds = (performance.now() - start) / 1000;
console.log(JSON.stringify({ jobs: count, seconds, per_s: count / seconds, drained: pool }));
await runner.stop();
await utils.release();
process.exit(0);
