// Shell completion of both commands: a script for each shell, which asks the command itself, and the answer. Answering
// loads the options of one command, and what the record has of earlier runs: it runs no recipe and writes nothing.
import { closest } from "./closest.ts";
import type { CommandEntry, CommandModule } from "./command-entry.ts";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** The first argument of a question; the words before the cursor follow, the last as far as it is written. */
export const COMPLETE = "--get-completions";

/** A command, as far as completion is concerned. */
export interface Completed {
  readonly known: Known;
  readonly complete?: CommandModule<never>["complete"];
}

/** What yargs knows once a command has told it its options; its types leave these out. */
export interface Known {
  getOptions(): {
    readonly key: Readonly<Record<string, unknown>>;
    readonly alias: Readonly<Record<string, readonly string[]>>;
    readonly boolean: readonly string[];
    readonly choices: Readonly<Record<string, readonly string[]>>;
  };
  getInternalMethods(): { getUsageInstance(): { getDescriptions(): Readonly<Record<string, string | undefined>> } };
}

/**
 * Candidates for the last word, one a line, each with its description behind a tab. Nothing where a file or somebody
 * else's word belongs. `completedOf` gives a command's options.
 */
export async function completionsOf(
  words: readonly string[],
  commands: readonly CommandEntry[],
  completedOf: (entry: CommandEntry) => Promise<Completed>,
): Promise<string> {
  // bash cuts a word at its equals sign.
  const given = words.at(-1) === "=" ? [...words, ""] : words;
  const before = given.slice(0, -1).filter((word) => word !== "=");
  const last = given.at(-1) ?? "";
  if (before.includes("--")) return "";
  const nameOf = ({ command }: CommandEntry): string => command.split(" ")[0] ?? "";
  if (before.length === 0)
    return listed(
      commands.map((entry) => [nameOf(entry), entry.describe]),
      last,
    );
  const entry = commands.find((one) => nameOf(one) === before[0]);
  if (!entry) return "";
  const { known, complete } = await completedOf(entry);
  const { key, alias, boolean, choices } = known.getOptions();
  const descriptions = known.getInternalMethods().getUsageInstance().getDescriptions();
  const full = (dashed: string | undefined): string | undefined => {
    const name = dashed?.startsWith("-") ? dashed.replace(/^-+/, "") : undefined;
    if (name === undefined) return undefined;
    return Object.hasOwn(key, name) ? name : Object.keys(alias).find((one) => alias[one]?.includes(name));
  };
  const valuesOf = async (name: string): Promise<readonly (readonly [string, string])[]> =>
    choices[name]?.map((one) => [one, ""] as const) ?? (await complete?.(name, before)) ?? [];
  const takesValue = (name: string | undefined): name is string => name !== undefined && !boolean.includes(name);
  const [, option, value] = /^(--[^=]+)=(.*)$/s.exec(last) ?? [];
  if (option !== undefined)
    return listed(
      (await valuesOf(full(option) ?? "")).map(([one, about]) => [`${option}=${one}`, about]),
      `${option}=${value}`,
    );
  const previous = full(before.at(-1));
  if (takesValue(previous)) return listed(await valuesOf(previous), last);
  const positionals = [...entry.command.matchAll(/[<[](\w+)/g)].map(([, name = ""]) => name);
  if (last.startsWith("-")) {
    const options = Object.keys(key).filter((one) => one.length > 1 && !positionals.includes(one));
    const about = (one: string): string => (descriptions[one] ?? "").replace("__yargsString__:", "");
    return listed(
      options.map((one) => [`--${one}`, about(one)]),
      last,
    );
  }
  const count = before
    .slice(1)
    .filter((word, index) => !word.startsWith("-") && !takesValue(full(before[index]))).length;
  const isList = /\.\.[\]>]$/.test(entry.command);
  return listed(await valuesOf(positionals[isList ? Math.min(count, positionals.length - 1) : count] ?? ""), last);
}

function listed(candidates: readonly (readonly [string, string])[], begin: string): string {
  return candidates
    .filter(([name]) => name.startsWith(begin))
    .map(([name, describe]) => `${name}\t${describe.replace(/\s+/g, " ")}\n`)
    .join("");
}

/** "--format" for "fromat", where that was typed as an option. */
export function nearestOption(message: string, args: readonly string[], known: Known): string | undefined {
  const [, names = ""] = /^Unknown arguments?: (.*)$/.exec(message) ?? [];
  const { key } = known.getOptions();
  for (const name of names.split(", ")) {
    if (!args.some((word) => word === `--${name}` || word.startsWith(`--${name}=`))) continue;
    const near = closest(
      name,
      Object.keys(key).filter((one) => one.length > 1),
    );
    if (near !== undefined) return `--${near}`;
  }
  return undefined;
}

/** What the shell is to read at its start. Where there is no candidate, it completes files. */
export function completionScript(name: string, shell: Shell): string {
  switch (shell) {
    case "bash":
      return `# ${name} completion for bash: eval "$(${name} completion bash)"
_${name}_completion() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <("\${COMP_WORDS[0]}" ${COMPLETE} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _${name}_completion ${name}
`;
    case "zsh":
      return `#compdef ${name}
# ${name} completion for zsh, after compinit: eval "$(${name} completion zsh)"
_${name}() {
  local -a candidates
  candidates=("\${(@f)$("\${words[1]}" ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -z "$candidates" ]]; then
    _files
    return
  fi
  candidates=("\${(@)candidates//:/\\\\:}")
  candidates=("\${(@)candidates/$'\\t'/:}")
  _describe '${name}' candidates
}
if [[ "\${funcstack[1]}" == "_${name}" ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
    case "fish":
      return `# ${name} completion for fish: ${name} completion fish | source
function __${name}_completion
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  $words[1] ${COMPLETE} $words[2..] "$current" 2>/dev/null
end
complete -c ${name} -a '(__${name}_completion)'
`;
  }
}
