// The grant `shell`: commands that are strings, run by /bin/sh -c. It has no items: a shell can start anything.
import { wholeOnly } from "./kind.ts";

export const shellRules = wholeOnly("shell", "a shell command can start everything that this user can");
