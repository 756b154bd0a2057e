// Connects by long polling, goes over to a WebSocket, and tells what it saw.
import { once } from "node:events";
import { io } from "socket.io-client";
import { agent, finish, told } from "./task.mjs";

const socket = io(told.url, { extraHeaders: told.headers, agent, reconnection: false });
socket.on("connect_error", (error) => {
  throw error;
});
let first;
const upgraded = new Promise((resolve) => {
  socket.io.on("open", () => {
    first = socket.io.engine.transport.name;
    socket.io.engine.once("upgrade", (transport) => resolve(transport.name));
  });
});
const [greeted] = await once(socket, "greeting");
const last = await upgraded;

const answers = [];
for (const value of ["text", { nested: [1, 2, 3] }, "x".repeat(200_000)]) {
  const [back, by] = await new Promise((answered) =>
    socket.emit("echo", value, (...answer) => answered(answer)),
  );
  answers.push([JSON.stringify(back) === JSON.stringify(value), by]);
}
const binary = await new Promise((answered) => socket.emit("echo", Buffer.from([0, 255]), answered));
const news = once(socket, "news");
socket.emit("all", "hear");
finish({ first, greeted, last, answers, binary: [...binary], news: await news });
