// What a later keeper needs to end and remove what a job leaves on its engine, as one line. container.ts writes and reads it.
import * as v from "valibot";
import { Address } from "./engine.ts";

const BEGINNING = "container ";
/** More than this nobody keeps. */
const MARK_BYTES = 1_000;

const Mark = v.strictObject({
  address: Address,
  /** The job's directory, which is to be given back by a container of this image; confined: with limits, as the job had. */
  owned: v.exactOptional(
    v.strictObject({ image: v.string(), workspace: v.string(), confined: v.exactOptional(v.literal(true)) }),
  ),
});
export type Mark = Readonly<v.InferOutput<typeof Mark>>;

/** Without what is owned where that would be too long: then what a container's root left stays. */
export function markOf(mark: Mark): string {
  const text = BEGINNING + JSON.stringify(mark);
  return mark.owned && Buffer.byteLength(text) > MARK_BYTES ? markOf({ address: mark.address }) : text;
}

export function parseMark(text: string): Mark {
  if (!text.startsWith(BEGINNING)) throw new Error("no mark of the container backend");
  return v.parse(Mark, JSON.parse(text.slice(BEGINNING.length)));
}
