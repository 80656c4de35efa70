// Unix sockets in a side's own 0700 folders, where processes of one side reach each other: a front its keeper, and the
// commands of a coordinator the one of them that listens.
import { openSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { ByteChannel } from "./channel.ts";
import { socketChannel, socketOptions } from "./socket-channel.ts";

/** A socket's path holds no more (unix(7), less the byte that ends it). */
const LONGEST_PATH = 107;
const folders = new Map<string, number>();

/** The socket of this name in the folder; where that is too long to say, by way of a descriptor of the folder. */
export function socketPathIn(folder: string, name: string): string {
  const path = join(folder, name);
  if (Buffer.byteLength(path) <= LONGEST_PATH || process.platform !== "linux") return path;
  const descriptor = folders.get(folder) ?? openSync(folder, "r");
  folders.set(folder, descriptor);
  return `/proc/self/fd/${descriptor}/${name}`;
}

/**
 * A channel to whoever listens there: "busy" where more connections wait to be taken than the socket may hold, and
 * `undefined` where nobody listens. Rejects with the system's own error for anything else.
 */
export function dialSocket(path: string): Promise<ByteChannel | "busy" | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, ...socketOptions });
    const channel = socketChannel(socket);
    socket.once("connect", () => resolve(channel));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // Nobody was there; he was killed; or he ended with this connection among those that he had not taken yet.
      if (["ENOENT", "ECONNREFUSED", "ECONNRESET"].includes(error.code ?? "")) resolve(undefined);
      else if (error.code === "EAGAIN") resolve("busy");
      else reject(error);
    });
  });
}
