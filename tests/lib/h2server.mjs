// SPDX-License-Identifier: Apache-2.0
// An HTTPS server that offers HTTP/2 and HTTP/1.1 (Node's own), for the HTTP client's test. Answers each request with its HTTP version,
// the number of connections so far and the size of the body. Ends when its standard input does. node h2server.mjs KEY CERT PORT_FILE
import { createSecureServer } from "node:http2";
import { readFileSync, renameSync, writeFileSync } from "node:fs";

const [key, cert, portFile] = process.argv.slice(2);
let connections = 0;
const server = createSecureServer({ key: readFileSync(key), cert: readFileSync(cert), allowHTTP1: true }, (request, response) => {
  let bytes = 0;
  request.on("data", (piece) => (bytes += piece.length));
  request.on("end", () => response.end(`${request.httpVersion} ${connections} ${bytes}`));
});
server.on("secureConnection", () => connections++);
server.listen(0, "127.0.0.1", () => {
  writeFileSync(portFile + ".new", String(server.address().port));
  renameSync(portFile + ".new", portFile);
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
