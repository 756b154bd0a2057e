// `node ws_server.mjs PORT`: gives every message back; "bye" closes with 4001.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => {
    if (!isBinary && data.toString() === "bye") socket.close(4001, "as asked");
    else socket.send(data, { binary: isBinary });
  });
});
