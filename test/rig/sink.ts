// A stream that keeps what is written to it, for the tests of views.
import { Writable } from "node:stream";

/** An output as a view writes to it, and what was written so far. */
export function sink(): { readonly stream: NodeJS.WriteStream; readonly text: () => string } {
  const pieces: Buffer[] = [];
  const stream = new Writable({
    write(bytes, _encoding, done) {
      pieces.push(bytes);
      done();
    },
  });
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => Buffer.concat(pieces).toString() };
}
