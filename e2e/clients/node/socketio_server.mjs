// `node socketio_server.mjs PORT`: greets, gives back what it is sent, and counts in broadcasts.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);
io.on("connection", (socket) => {
  socket.emit("greeting", "welcome");
  socket.on("echo", (value, answer) => answer(value, socket.conn.transport.name));
  socket.on("all", (text) => io.emit("news", text));
});
http.listen(Number(process.argv[2]), "127.0.0.1");
