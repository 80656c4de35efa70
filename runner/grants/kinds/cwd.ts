// The grant `cwd`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const cwdRules = wholeOnly("cwd", "every cwd");
