// A container's stdin: a connection of its own, since one that the engine closes because the command reads no more would
// take the outputs' unread bytes with it. command.ts writes to it.
import type { Duplex, Writable } from "node:stream";
import { stdinTo } from "../stdin.ts";

export function stdinOf(connection: Duplex): Writable {
  const { stdin, leave } = stdinTo({
    write: (bytes, done) => void connection.write(bytes, done),
    end: () => void connection.end(),
    destroy: () => void connection.destroy(),
  });
  connection.on("error", leave);
  connection.on("close", leave);
  // Podman sends the outputs here as well.
  connection.resume();
  return stdin;
}
