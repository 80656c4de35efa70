// The grant `ssh`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const sshRules = wholeOnly("ssh", "any host that this user's ssh reaches");
