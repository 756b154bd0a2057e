// What a client is told, as JSON in its one argument, and how it tells what it saw.
import http from "node:http";

export const told = JSON.parse(process.argv[2]);

export function finish(seen) {
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
}

/** Gives every name the loopback address, as a wildcard record in DNS would. */
export function loopback(_, options, callback) {
  if (options.all) callback(null, [{ address: "127.0.0.1", family: 4 }]);
  else callback(null, "127.0.0.1", 4);
}

export const agent = new http.Agent({ keepAlive: true, lookup: loopback });
