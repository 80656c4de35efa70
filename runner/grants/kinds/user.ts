// The grant `user`: whom a job may ask to run as, as the job writes it: `nobody`, `1000`, `1000:1000`. A job that does not ask
// runs as the runner's user.
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { User } from "../../../protocol/place.ts";
import { badItem, type KindRules } from "./kind.ts";

const userOf = (text: string): string => text.split(":")[0] ?? "";

/** As the runner will take it: a number in any notation, else the account of that name; undefined where nobody knows. */
function idOf(name: string): number | undefined {
  if (name === "root") return 0;
  try {
    const entry = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .find((line) => line.startsWith(`${name}:`));
    if (entry) return Number(entry.split(":")[2]);
  } catch {
    // There may be none, in a container.
  }
  return Number.isInteger(Number(name)) ? Number(name) : undefined;
}

export const userRules: KindRules<string> = {
  parse(text) {
    if (!v.is(User, text)) throw badItem("user", text, "it takes a user's name or number, or USER:GROUP");
    return text;
  },
  matches: (item, value) => item === value,
  /** Whatever the group; and whoever may be the same by another name. */
  denies(item, value) {
    if (userOf(item) === userOf(value)) return true;
    const [denied, asked] = [idOf(userOf(item)), idOf(userOf(value))];
    return denied === undefined || asked === undefined || denied === asked;
  },
  warning: (allowed) =>
    allowed === true || idOf(userOf(allowed)) === 0 ? "a job may run as root, where the runner does" : undefined,
};
