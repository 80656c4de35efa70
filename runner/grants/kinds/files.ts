// The grant `files`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const filesRules = wholeOnly("files", "every files");
