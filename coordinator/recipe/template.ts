// Where in a shell's command an interpolation of `sh` stands. A quoted word is one word only where the shell is not
// in the middle of quotes, a comment and the like: there its own quotes would be text, and a `$(…)` in it would run.
// https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_02

/** What the shell is in the middle of. In a substitution, `$(` or `(`, quoting begins anew. */
type Context = "a substitution" | "double quotes" | "single quotes" | "a comment";

/** Behind these, where a shell is depends on more than can be read off its characters, or on which shell it is. */
type Unsure =
  | "an arithmetic expression"
  | "brackets"
  | "a here-document"
  | "a case within a substitution"
  | "a $'…' string"
  | "a backslash"
  | "backticks";

/** Numbers, names and operators: with anything else in it, shells do not agree where it ends, or whether it is one. */
const ARITHMETIC = /[\w\s+\-*/%<>=!&|^~?:,]|\$\w/y;

/** A set of characters of a pattern, or a subscript that is none but of plain characters. */
const BRACKETS = /\[[\w$!^.,:*?+\-[]*\]/y;

/** Reads a template part by part. */
export class TemplateReader {
  readonly #contexts: Context[] = [];
  /** The character before the part. */
  #before = "\n";
  #unsure: Unsure | undefined;

  /** Reads the next part, and says what an interpolation behind it would stand in, where no quoted word can stand. */
  read(part: string): Exclude<Context, "a substitution"> | Unsure | undefined {
    let at = 0;
    while (at < part.length) at += this.#take(part, at);
    if (at > part.length) this.#unsure = "a backslash";
    // With the quote of the word that follows it would be one.
    if (part.endsWith("$")) this.#unsure ??= "a $'…' string";
    this.#before = "x";
    if (this.#unsure) return this.#unsure;
    const context = this.#contexts.at(-1);
    return context === "a substitution" ? undefined : context;
  }

  /** Takes what stands at `at`, and says how many characters that was. */
  #take(part: string, at: number): number {
    const character = part[at] ?? "";
    const context = this.#contexts.at(-1);
    if (context === "single quotes") return this.#takeOne(character === "'");
    if (context === "a comment") return this.#takeOne(character === "\n");
    if (character === "\\") return 2;
    if (character === "`") this.#unsure = "backticks";
    if (part.startsWith("$((", at)) {
      const length = arithmeticLength(part, at);
      if (length === undefined) this.#unsure = "an arithmetic expression";
      return length ?? 3;
    }
    // Text, but not for bash.
    if (part.startsWith("$[", at)) this.#unsure = "an arithmetic expression";
    if (part.startsWith("$(", at)) {
      this.#contexts.push("a substitution");
      return 2;
    }
    if (character === '"') return this.#takeOne(context === "double quotes", "double quotes");
    if (context === "double quotes") return 1;
    if (part.startsWith("$'", at)) this.#unsure = "a $'…' string";
    if (context === "a substitution" && /^case\s/.test(part.slice(at, at + 5)))
      this.#unsure = "a case within a substitution";
    if (character === "[" && /\w/.test(part[at - 1] ?? this.#before)) {
      // For bash it may be an array's subscript, which it evaluates: quotes are text there.
      BRACKETS.lastIndex = at;
      const length = BRACKETS.exec(part)?.[0].length;
      if (length === undefined) this.#unsure = "brackets";
      return length ?? 1;
    }
    // Two subshells, but not for bash.
    if (part.startsWith("((", at)) this.#unsure = "an arithmetic expression";
    if (character === "'") return this.#takeOne(false, "single quotes");
    if (character === "(") return this.#takeOne(false, "a substitution");
    if (character === ")") return this.#takeOne(context !== undefined);
    if (character === "#" && /[\s;&|()]/.test(part[at - 1] ?? this.#before)) return this.#takeOne(false, "a comment");
    // Some shells read a substitution in its body beyond its end.
    if (part.startsWith("<<", at)) this.#unsure = "a here-document";
    return 1;
  }

  /** One character, which ends the context or begins one. */
  #takeOne(ends: boolean, begins?: Context): 1 {
    if (ends) this.#contexts.pop();
    else if (begins) this.#contexts.push(begins);
    return 1;
  }
}

/** Of `$((…))` at `at`; undefined where it is none that every shell reads alike. */
function arithmeticLength(part: string, at: number): number | undefined {
  let depth = 0;
  for (let end = at + 3; end < part.length; ) {
    if (depth === 0 && part.startsWith("))", end)) return end + 2 - at;
    if (part[end] === "(") depth++;
    else if (part[end] === ")" && depth > 0) depth--;
    else {
      ARITHMETIC.lastIndex = end;
      const found = ARITHMETIC.exec(part);
      if (!found) return undefined;
      end += found[0].length;
      continue;
    }
    end++;
  }
  return undefined;
}
