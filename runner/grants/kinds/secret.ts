// The grant `secret`: the names of secrets that a coordinator may deliver to a job here.

import { fitsName, type NamePattern, namePattern } from "../../../protocol/name-pattern.ts";
import { badItem, type KindRules } from "./kind.ts";

export const secretRules: KindRules<NamePattern> = {
  parse(text) {
    const pattern = namePattern(text);
    if (!pattern) throw badItem("secret", text, "it takes a secret's name, or PREFIX_* for those that begin so");
    return pattern;
  },
  matches: fitsName,
};
