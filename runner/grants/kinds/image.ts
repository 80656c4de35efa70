// The grant `image`: as a whole, or not at all.
import { wholeOnly } from "./kind.ts";

export const imageRules = wholeOnly("image", "any image, from any registry");
