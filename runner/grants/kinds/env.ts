// The grant `env`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const envRules = wholeOnly("env", "every env");
