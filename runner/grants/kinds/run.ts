// The grant `run`: programs that a job may start as processes of the runner's own, by name or by absolute path. What was
// looked at is what is started: the job's request is given the path in place of the name.
import { basename, isAbsolute } from "node:path";
import { badItem, type KindRules } from "./kind.ts";
import { findProgram, isReplaceable, isSameFile, startsAnything, targetName } from "./programs.ts";

interface Program {
  readonly name: string;
  /** As it was found when the grant was read. A program that comes later is not the one that was meant. */
  readonly path: string | undefined;
}

interface Look {
  readonly path: string | undefined;
  /** The name behind its links. */
  readonly target: string | undefined;
}
/**
 * What a name was found to be, while a job is decided about: one look for it, whatever it is compared with, and what was
 * compared is what is taken.
 */
const looks = new Map<string, Look>();
function lookAt(value: string): Look {
  const before = looks.get(value);
  if (before) return before;
  const path = findProgram(value);
  const look = { path, target: path && targetName(path) };
  // A decision is made in one go.
  if (looks.size === 0) queueMicrotask(() => looks.clear());
  looks.set(value, look);
  return look;
}

const isName = (text: string): boolean => /^[^/\s\0*?]{1,255}$/.test(text);
const isPath = (text: string): boolean => isAbsolute(text) && !/[\0*?]|\/$/.test(text);
const everything = (name: string): string =>
  `${name} can start any other program, so it is everything that this user can run`;

export const runRules: KindRules<Program> = {
  parse(text) {
    if (!isName(text) && !isPath(text))
      throw badItem("run", text, "it takes a program's name, or its absolute path, without arguments and without *");
    return { name: basename(text), path: findProgram(text) };
  },
  matches: ({ path }, value) => path !== undefined && lookAt(value).path === path,
  /** By whatever name: its own, that of the file behind its links, and as another link to the same file. */
  denies({ name, path }, value) {
    const { path: found, target } = lookAt(value);
    if (found === undefined) return true;
    return basename(found) === name || target === name || (path !== undefined && isSameFile(found, path));
  },
  taken: (value) => lookAt(value).path,
  itemFor: (value) => (isName(value) || isPath(value) ? value : undefined),
  means: (value) => (startsAnything(basename(value)) ? everything(basename(value)) : undefined),
  warning(allowed) {
    if (allowed === true) return "everything that this user can run";
    const { name, path } = allowed;
    if (path === undefined) return `there is no program ${name} here now, so nothing is allowed by it`;
    if ([name, targetName(path) ?? ""].some(startsAnything)) return everything(name);
    return isReplaceable(path) ? `${path} can be replaced by this user, and so by a job` : undefined;
  },
};
