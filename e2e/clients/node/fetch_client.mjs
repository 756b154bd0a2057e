// The platform's fetch and undici's own client: a streamed upload, and a download in pieces.
import { createHash } from "node:crypto";
import { Agent, request } from "undici";
import { finish, loopback, told } from "./task.mjs";

async function* pieces() {
  for (let number = 0; number < 64; number++) yield Buffer.alloc(64 * 1024, number);
}

async function digest(stream) {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of stream) {
    hash.update(piece);
    size += piece.length;
  }
  return { size, sha256: hash.digest("hex") };
}

const sent = await digest(pieces());

async function byFetch() {
  const upload = await fetch(`${told.url}/digest`, {
    method: "POST",
    headers: told.headers,
    body: ReadableStream.from(pieces()),
    duplex: "half",
  });
  const uploaded = await upload.json();
  const download = await fetch(`${told.url}/download?size=1000003`, { headers: told.headers });
  return [upload.headers.get("x-sandbox-cold-start"), uploaded, (await digest(download.body)).size];
}

async function byUndici() {
  const dispatcher = new Agent({ connect: { lookup: loopback } });
  const options = { headers: told.headers, dispatcher };
  const upload = await request(`${told.url}/digest`, { ...options, method: "POST", body: pieces() });
  const uploaded = await upload.body.json();
  const download = await request(`${told.url}/download?size=1000003`, options);
  return [upload.headers["x-sandbox-cold-start"], uploaded, (await digest(download.body)).size];
}

const [cold, uploaded, downloaded] = await (told.client === "fetch" ? byFetch() : byUndici());
finish({ cold, uploaded: JSON.stringify(uploaded) === JSON.stringify(sent), downloaded });
