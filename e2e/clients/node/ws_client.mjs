// Opens a WebSocket, sends each message once the one before came back, and tells what it saw.
import { once } from "node:events";
import { WebSocket } from "ws";
import { finish, told } from "./task.mjs";

const socket = new WebSocket(told.url, { headers: told.headers });
const [[response]] = await Promise.all([once(socket, "upgrade"), once(socket, "open")]);

const sizes = [];
for (const message of ["text", Buffer.from([0, 255]), "x".repeat(200_000)]) {
  socket.send(message);
  const [data, isBinary] = await once(socket, "message");
  if (!Buffer.from(message).equals(data)) throw new Error("another message came back");
  sizes.push([data.length, isBinary]);
}
socket.ping("alive");
const [pong] = await once(socket, "pong");
socket.send("bye");
const [code, reason] = await once(socket, "close");
finish({
  cold: response.headers["x-sandbox-cold-start"],
  extensions: socket.extensions,
  sizes,
  pong: pong.toString(),
  close: [code, reason.toString()],
});
