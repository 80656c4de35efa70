// The grant `user`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const userRules = wholeOnly("user", "every user");
