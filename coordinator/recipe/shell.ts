// The `sh` template: a command for /bin/sh in which every interpolation is quoted, always.
import { quoted } from "../../protocol/quote.ts";
import { TemplateReader } from "./template.ts";

const SHELL = Symbol.for("sortie.shell");

/** A command for `/bin/sh -c`, made by `sh`. */
export interface ShellCommand {
  readonly [SHELL]: true;
  /** The command as the shell gets it. */
  readonly text: string;
}

/** What may be put into an `sh` template: one word, or a list that becomes several. */
export type ShellValue = string | number | boolean | readonly (string | number | boolean)[];

/**
 * A command for `/bin/sh -c`. Each interpolation becomes one quoted word, a list as many as it has; so it needs no
 * quotes of its own. The text around it reaches the shell as it is written, backslashes too.
 *
 * Throws a TypeError at the call where an interpolation is anything else (an object, `undefined`, a function, `NaN`),
 * and where it stands within quotes, an arithmetic expression, a subscript, a comment or a here-document, or behind what
 * shells read in different ways: no word can be quoted there.
 * @example sh`tar czf ${archive} ${files}`
 * @example sh`cp ${file} backup-${date}/ && echo "copied to $PWD"`
 */
export function sh(strings: TemplateStringsArray, ...values: readonly ShellValue[]): ShellCommand {
  const reader = new TemplateReader();
  const text = strings.raw
    .map((part, index) => {
      const within = reader.read(part);
      if (within && index < values.length) throw new TypeError(misplaced(within));
      return index < values.length ? part + words(values[index]) : part;
    })
    .join("");
  if (text.trim() === "") throw new TypeError("sh`` is an empty command.");
  return Object.freeze({ [SHELL]: true as const, text });
}

export const isShellCommand = (value: unknown): value is ShellCommand =>
  typeof value === "object" && value !== null && SHELL in value;

const misplaced = (within: string): string =>
  within.endsWith("quotes")
    ? `sh\`\` has an interpolation within ${within}: it is quoted already, so take it out of them.`
    : `sh\`\` has an interpolation within or behind ${within}, where it cannot be quoted: give it to the job by env instead.`;

function words(value: unknown): string {
  return Array.isArray(value) ? Array.from(value, word).join(" ") : word(value);
}

function word(value: unknown): string {
  const isWord =
    typeof value === "string" || typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value));
  if (!isWord) {
    const what =
      value === null
        ? "null"
        : Array.isArray(value)
          ? "a list within a list"
          : typeof value === "number"
            ? String(value)
            : typeof value;
    throw new TypeError(`sh\`\` cannot hold ${what}: interpolate a string, a number, a boolean, or a list of those.`);
  }
  const text = String(value);
  checkText(text, "sh``");
  return quoted(text);
}

/** @internal Throws for what no process can be given: a NUL would end the word, and half of a pair has no bytes in UTF-8. */
export function checkText(text: string, what: string): void {
  if (text.includes("\0")) throw new TypeError(`${what} cannot hold a NUL character.`);
  if (!text.isWellFormed())
    throw new TypeError(`${what} cannot hold half of a surrogate pair: it is no whole character.`);
}
