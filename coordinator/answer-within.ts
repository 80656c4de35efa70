// A runner that takes a call and never answers it: its connection lives, so nothing else would notice.
import type { ByteChannel } from "../protocol/channel.ts";
import { SortieError } from "../protocol/errors.ts";

/** What the call on the channel gives; after so long the channel ends, and the call rejects with TIMEOUT. */
export async function answerWithin<T>(channel: ByteChannel, milliseconds: number, call: Promise<T>): Promise<T> {
  const late = setTimeout(
    () => channel.abort(new SortieError("TIMEOUT", `The runner did not answer for ${milliseconds / 1_000} s.`)),
    milliseconds,
  );
  try {
    return await call;
  } finally {
    clearTimeout(late);
  }
}
