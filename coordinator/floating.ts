// Promises of a job's function that nobody holds: where one fails, that is the job's failure, and not the coordinator's with
// all other jobs. drive.ts calls functions with it.
import { AsyncLocalStorage } from "node:async_hooks";
import { SortieError } from "../protocol/errors.ts";
import { takeRejections } from "../protocol/unhandled.ts";

const floating = new AsyncLocalStorage<(error: unknown) => void>();

takeRejections((error) => {
  const tell = floating.getStore();
  // Without its store no job of the run can go on.
  if (!tell || (error instanceof SortieError && error.code === "STORE_FAILED")) return false;
  tell(error);
  return true;
});

/** Calls it; `tell` gets every rejection, of whatever it sets going, that nobody handles. */
export const withFloating = <Value>(tell: (error: unknown) => void, call: () => Value): Value =>
  floating.run(tell, call);
