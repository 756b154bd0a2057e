// What a page does that has more than text: each part writes into an element of its own name.
import { show } from "./show.mjs";

const about = await (await fetch("/about")).json();
show("fetch", about.host);
show("cookies", `site: ${Object.keys(about.cookies).sort()}; script: ${document.cookie}`);

const events = new EventSource("/events");
events.addEventListener("news", (event) => show("events", `${event.lastEventId} ${event.data}`));

const socket = new WebSocket(`${location.origin.replace("http", "ws")}/socket`);
socket.onopen = () => socket.send("hello");
socket.onmessage = (message) => show("socket", message.data);
socket.onclose = () => show("socket", "closed");

document.querySelector("form").onsubmit = async (submission) => {
  submission.preventDefault();
  const text = submission.target.text.value;
  socket.send(text);
  await fetch("/events", { method: "POST", body: text });
};
