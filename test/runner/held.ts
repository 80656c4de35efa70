// How much memory something holds, once what nobody needs any more is gone: for tests of bounds.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Bytes that are held now. */
export function heldNow(): number {
  // What the first finds in buffers is given back by the time of the second.
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Bytes that are held by what `fill` gives. */
export function heldAfter(fill: () => object): number {
  const before = heldNow();
  const kept = fill();
  const after = heldNow();
  // Read after the measurement, so that it is not garbage in it.
  if (Object.keys(kept).length > 1_000) throw new Error("an unlikely thing to measure");
  return after - before;
}
