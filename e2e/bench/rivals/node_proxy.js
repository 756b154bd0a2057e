// A proxy on Node's http-proxy: `node node_proxy.js PORT ID=ORIGIN...`.
"use strict";

const http = require("node:http");
const httpProxy = require("http-proxy");

const [port, ...pairs] = process.argv.slice(2);
const origins = new Map(pairs.map((pair) => pair.split("=")));
const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 1024 });
const proxy = httpProxy.createProxyServer({ agent, xfwd: true });

proxy.on("error", (error, request, answer) => {
  console.error(`${request.method} ${request.url}: ${error.message}`);
  if (answer instanceof http.ServerResponse && !answer.headersSent) {
    answer.writeHead(502).end();
  } else {
    answer.destroy();
  }
});

const server = http.createServer((request, response) => {
  const target = origins.get(request.headers["e2b-sandbox-id"]);
  if (target === undefined) {
    response.writeHead(404).end();
    return;
  }
  proxy.web(request, response, { target });
});

server.on("upgrade", (request, socket, head) => {
  const target = origins.get(request.headers["e2b-sandbox-id"]);
  if (target === undefined) {
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    return;
  }
  proxy.ws(request, socket, head, { target });
});

server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
