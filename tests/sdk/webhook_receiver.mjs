// SPDX-License-Identifier: Apache-2.0
// A webhook receiver as a user would write it, on the official package. Answers 500 to the first FAIL requests, then verifies each and answers 204.
// Prints a JSON line per request: {"id","timestamp","verified","type","job","body_sha256","answered"}; the first line is {"port"}.
//   node webhook_receiver.mjs SECRET FAIL
import { createServer } from "node:http";
import { createHash } from "node:crypto";
import { Webhook } from "standardwebhooks";

const [secret, fail] = [process.argv[2], Number(process.argv[3])];
const webhook = new Webhook(secret);
let seen = 0;

const server = createServer((request, response) => {
  const pieces = [];
  request.on("data", (p) => pieces.push(p));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    const line = {
      id: request.headers["webhook-id"],
      timestamp: request.headers["webhook-timestamp"],
      body_sha256: createHash("sha256").update(body).digest("hex"),
      verified: false,
      answered: ++seen > fail ? 204 : 500,
    };
    try {
      const message = webhook.verify(body.toString(), request.headers);
      line.verified = true;
      line.type = message.type;
      line.job = message.data.id;
    } catch (e) {
      line.error = String(e);
    }
    console.log(JSON.stringify(line));
    response.writeHead(line.answered).end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
