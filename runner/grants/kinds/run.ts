// The grant `run`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const runRules = wholeOnly("run", "every run");
