// The grant `secret`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const secretRules = wholeOnly("secret", "every secret");
