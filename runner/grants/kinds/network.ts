// The grant `network`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const networkRules = wholeOnly("network", "containers reach every network that this machine does");
