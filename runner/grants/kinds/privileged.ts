// The grant `privileged`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const privilegedRules = wholeOnly("privileged", "a privileged container can do everything that root can");
