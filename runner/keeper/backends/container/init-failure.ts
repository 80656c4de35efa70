// A container's init (docker-init is tini, podman-init catatonit) starts the command, and where it cannot it says so on
// stderr and exits with a code of its own. That is a command that was never started, not one that failed:
// command.ts takes init's words out of stderr, and tells the reason.
import { Transform, type TransformCallback } from "node:stream";
import { oneLine } from "../../../../protocol/text.ts";
import type { Refusal } from "../backend.ts";

/** Each writes its beginning at once, before anything else can be written. */
const BEGINNINGS = ["[FATAL tini (", "ERROR (catatonit:"];
const MESSAGES = [
  /^\[FATAL tini \(\d+\)\] exec .* failed: ([^\n]*)\n$/s,
  /^ERROR \(catatonit:\d+\): failed to exec pid1: ([^\n]*)\n$/,
];
/** The program's name is in there; a longer one is nothing a kernel would look for. */
const MESSAGE_BYTES = 8 * 1024;
const INIT_CODES = [1, 126, 127];

/**
 * Passes stderr on, but what may be init's message waits for the code the container exited with: it is kept back, and
 * told to `failed`, where it is one.
 */
export function withoutInitFailure(
  program: string,
  exited: Promise<number | undefined>,
  failed: (refusal: Refusal) => void,
): Transform {
  let held: Buffer | undefined = Buffer.alloc(0);
  const release = (to: Transform): void => {
    if (held && held.length > 0) to.push(held);
    held = undefined;
  };
  return new Transform({
    transform(bytes: Buffer, _encoding, done: TransformCallback) {
      if (!held) return done(null, bytes);
      held = Buffer.concat([held, bytes]);
      const text = held.toString("latin1");
      if (!BEGINNINGS.some((one) => text.startsWith(one)) || held.length > MESSAGE_BYTES) release(this);
      done();
    },
    flush(done: TransformCallback) {
      if (!held || held.length === 0) return done();
      void exited.then((code) => {
        const refusal = code === undefined ? undefined : refusalIn(String(held), code, program);
        if (refusal) failed(refusal);
        else release(this);
        done();
      });
    },
  });
}

/** As a shell tells it: 127 where there is no such command, 126 where there is one that cannot be executed. */
export function refusalIn(text: string, code: number, program: string): Refusal | undefined {
  if (!INIT_CODES.includes(code)) return undefined;
  const reason = MESSAGES.map((message) => message.exec(text)?.[1]).find((one) => one !== undefined);
  if (reason === undefined) return undefined;
  if (/No such file|Not a directory/.test(reason))
    return { stage: "command", code: 127, message: `${program}: command not found in the image` };
  if (/Argument list too long/.test(reason))
    return { stage: "spawn", code: null, message: `${program}: the arguments and variables are too long` };
  return { stage: "command", code: 126, message: `${program}: cannot be executed in the image (${oneLine(reason)})` };
}
