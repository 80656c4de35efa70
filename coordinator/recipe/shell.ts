// The `sh` template: a command for /bin/sh in which every interpolation is quoted, always.

const SHELL = Symbol.for("sortie.shell");

/** A command for `/bin/sh -c`, made by `sh`. */
export interface ShellCommand {
  readonly [SHELL]: true;
  readonly text: string;
}

/** What may be put into an `sh` template: one word, or a list that becomes several. */
export type ShellValue = string | number | boolean | readonly (string | number | boolean)[];

/**
 * A shell command. Each interpolation becomes one quoted word, a list several; anything else throws at the call.
 * @example sh`tar czf ${archive} ${files}`
 */
export function sh(strings: TemplateStringsArray, ...values: readonly ShellValue[]): ShellCommand {
  const text = strings.raw.map((part, index) => (index === 0 ? part : words(values[index - 1]) + part)).join("");
  if (text.trim() === "") throw new TypeError("sh`` is an empty command.");
  return Object.freeze({ [SHELL]: true as const, text });
}

export const isShellCommand = (value: unknown): value is ShellCommand =>
  typeof value === "object" && value !== null && SHELL in value;

/** One word for a POSIX shell: within single quotes nothing is special but the quote itself. */
export const quote = (word: string): string =>
  /^[A-Za-z0-9_/.:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

function words(value: unknown): string {
  return Array.isArray(value) ? value.map(word).join(" ") : word(value);
}

function word(value: unknown): string {
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") {
    const what = value === null ? "null" : Array.isArray(value) ? "a list within a list" : typeof value;
    throw new TypeError(`sh\`\` cannot hold ${what}: interpolate a string, a number, a boolean, or a list of those.`);
  }
  const text = String(value);
  if (text.includes("\0")) throw new TypeError("sh`` cannot hold a NUL character.");
  return quote(text);
}
