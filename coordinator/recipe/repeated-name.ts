// Whether an object in a recipe may have one name twice: a quick look at its characters that never says no where esbuild
// would say yes. Only where it says yes does the loader pay for asking esbuild, which takes a process.

/** Each comment ends at one place only: were there several, a pattern would try all ways to cut many comments, without an end. */
const GAP = String.raw`(?:\s|//[^\n]*(?:\n|$)|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/)`;
/** A gap, a word or a number, a string, or one character. */
const TOKEN = new RegExp(
  String.raw`(?<gap>${GAP}+)|(?<word>[\w$\u0080-\uffff]+|"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*')|[\s\S]`,
  "y",
);
/** What follows a name. */
const BEHIND_NAME = new RegExp(`${GAP}*[:,}(<?!=]`, "y");
/** The text of a template, up to its end or to what is put in. */
const TEMPLATE = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(`|\$\{)/y;

/** Longer text would be more than a pattern can go through, and esbuild is quicker. */
const MOST_CHARACTERS = 2 ** 20;

/** What is open: the names of something in braces so far, or the end of what else it is. */
type Open = Set<string> | "`" | ")" | "]";

/** True wherever it cannot be sure. */
export function mayRepeatName(source: string): boolean {
  if (source.length > MOST_CHARACTERS) return true;
  const open: Open[] = [];
  let at = 0;
  /** Behind `{` or `,` in braces. */
  let atName = false;

  const look = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(source);
  };
  /** False where it does not end. */
  function passTemplate(): boolean {
    const text = look(TEMPLATE);
    if (!text) return false;
    at += text[0].length;
    if (text[1] !== "`") open.push("`");
    return true;
  }
  /** False where it cannot be sure. */
  function passMark(mark: string): boolean {
    const inner = open.at(-1);
    const wasAtName = atName;
    atName = mark === "{" || (mark === "," && inner instanceof Set) || (mark === "*" && wasAtName);
    switch (mark) {
      case "{":
        open.push(new Set());
        return true;
      case "(":
        open.push(")");
        return true;
      case "[":
        open.push("]");
        // A computed name may be any.
        return !wasAtName;
      case "}":
        open.pop();
        return inner === "`" ? passTemplate() : inner instanceof Set;
      case ")":
      case "]":
        return open.pop() === mark;
      case "`":
        return passTemplate();
      // A regular expression, or a string that does not end: what follows cannot be told.
      case "/":
      case "\\":
      case '"':
      case "'":
        return false;
      default:
        return true;
    }
  }

  while (at < source.length) {
    const token = look(TOKEN);
    const { gap, word } = token?.groups ?? {};
    at += token?.[0].length ?? 1;
    if (gap !== undefined) continue;
    if (word === undefined) {
      if (!passMark(token?.[0] ?? "")) return true;
      continue;
    }
    const names = open.at(-1);
    if (!atName || !(names instanceof Set) || !look(BEHIND_NAME)) continue;
    const name = word.replace(/^["']|["']$/g, "");
    // The same name may be written in another way.
    if (names.has(name) || /\\|^["']?\d/.test(word)) return true;
    names.add(name);
    atName = false;
  }
  return open.length > 0;
}
