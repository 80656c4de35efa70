// The small schemas that messages are made of: numbers, text, paths.
import * as v from "valibot";

/** No more than a number holds exactly: offsets are added up. */
export const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** Milliseconds since the epoch, as far as a date goes. */
export const Time = v.pipe(Count, v.maxValue(8_640_000_000_000_000));
export const PositiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1));

/** No NUL: the kernel would cut the string there. */
export const Text = v.pipe(
  v.string(),
  v.check((text) => !text.includes("\0"), "text without a NUL character"),
);

export const AbsolutePath = v.pipe(Text, v.startsWith("/", "an absolute path"));
