// The grant `mount`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const mountRules = wholeOnly("mount", "a container may mount every path of this machine");
