// A container's stdin: a connection of its own, since one that the engine closes because the command reads no more would
// take the outputs' unread bytes with it. command.ts writes to it.
import { type Duplex, Writable } from "node:stream";

/** Ending it is the command's end of input; what comes after the command stopped reading is thrown away. */
export function stdinOf(connection: Duplex): Writable {
  let gone = false;
  let writing: (() => void) | undefined;
  /** Forgotten first: the stream goes on with the next piece at once. */
  const written = (): void => {
    const done = writing;
    writing = undefined;
    done?.();
  };
  const lost = (): void => {
    gone = true;
    written();
  };
  connection.on("error", lost);
  connection.on("close", lost);
  // Podman sends the outputs here as well.
  connection.resume();
  return new Writable({
    write(bytes: Buffer, _encoding, done) {
      if (gone) return done();
      writing = done;
      connection.write(bytes, written);
    },
    final(done) {
      if (!gone) connection.end();
      done();
    },
    destroy(_error, done) {
      connection.destroy();
      done(null);
    },
  });
}
