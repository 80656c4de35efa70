// The stdin of a command that is elsewhere, and may leave at any time: what comes after is thrown away, and holds nobody up.
import { Writable } from "node:stream";

/** Where it goes. */
export interface StdinTarget {
  /** `done` once it was taken; never, where the target is gone before. */
  write(bytes: Buffer, done: () => void): void;
  end(): void;
  destroy?(): void;
}

/** `leave`: the command reads no more. Errors never leave the stream. */
export function stdinTo(target: StdinTarget): { readonly stdin: Writable; leave(): void } {
  let gone = false;
  let pending: (() => void) | undefined;
  /** Forgotten first: the stream goes on with the next piece at once. */
  const written = (): void => {
    const done = pending;
    pending = undefined;
    done?.();
  };
  const stdin = new Writable({
    write(bytes: Buffer, _encoding, done) {
      if (gone) return done();
      pending = done;
      target.write(bytes, () => {
        if (pending === done) written();
      });
    },
    final(done) {
      if (!gone) target.end();
      done();
    },
    destroy(_error, done) {
      target.destroy?.();
      done(null);
    },
  });
  stdin.on("error", () => {});
  return {
    stdin,
    leave() {
      gone = true;
      written();
    },
  };
}
