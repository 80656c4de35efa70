// `--sandbox`, and what a sandboxed recipe is granted beside, as options of `coordinator run` and `check`.
import { SortieError } from "../../protocol/errors.ts";
import { namePattern } from "../../protocol/name-pattern.ts";
import { grantedPath, type SandboxGrants } from "./grants.ts";

/** Kinds of grants of the runner on this machine: those of `runner start`, as docs/grants.md tells them. */
const RUNNER = ["run", "shell", "image", "mount", "privileged", "network", "ssh", "cwd", "files", "user"] as const;
const OWN = ["read", "write", "net", "env", "secret"] as const;
type Flag = (typeof RUNNER)[number] | (typeof OWN)[number];

export type SandboxOptionsGiven = { readonly sandbox: boolean } & {
  readonly [K in Flag as `allow-${K}`]?: string | readonly string[] | undefined;
};

const group = "With --sandbox:";
const describes: Readonly<Record<Flag, string>> = {
  read: "Paths that the recipe may read, beside its repository",
  write: "Paths that the recipe may write",
  net: "Let the recipe use the network",
  env: "Variables that the recipe sees, and that jobs here may set: CI,RELEASE_*",
  secret: "Secrets that the recipe may have delivered: DEPLOY_TOKEN",
  run: "Programs that jobs on this machine may run: git,npm",
  shell: "Let jobs on this machine run commands of a shell",
  image: "Images that they may run: alpine:*",
  mount: "Paths of this machine in their containers",
  privileged: "Let their containers have more rights",
  network: "Networks for their containers",
  ssh: "Hosts that they may reach by ssh: deploy@web1",
  cwd: "Folders of this machine where they may run",
  files: "Files of this machine that they ask Sortie for",
  user: "Whom they may run as",
};

export const sandboxOptions = {
  sandbox: {
    type: "boolean",
    default: false,
    describe: "Run the recipe's code in a process that may do nothing but ask for jobs",
  },
  ...Object.fromEntries(
    [...OWN, ...RUNNER].map((flag) => [`allow-${flag}`, { type: "string", group, describe: describes[flag] }]),
  ),
} as { readonly sandbox: { readonly type: "boolean"; readonly default: false; readonly describe: string } };

/** Undefined where the recipe is in no sandbox. Throws USAGE, also for grants without one: they would grant nothing. */
export async function sandboxOf(options: SandboxOptionsGiven): Promise<SandboxGrants | undefined> {
  const { sandbox } = options;
  if (!sandbox) {
    const flag = [...OWN, ...RUNNER].find((one) => options[`allow-${one}`] !== undefined);
    if (flag === undefined) return undefined;
    throw new SortieError("USAGE", `--allow-${flag} is for a recipe in a sandbox, and this one may do everything.`, {
      hint: "Add --sandbox, or leave it out.",
    });
  }
  const { policyOfFlags } = await import("../runner-flags.ts");
  const named = { env: itemsOf("env", options), secret: itemsOf("secret", options) };
  const flags = Object.fromEntries(
    [...RUNNER, "env", "secret"].map((kind) => [`allow-${kind}`, options[`allow-${kind as Flag}`]]),
  );
  return {
    read: itemsOf("read", options).map((path) => grantedPath("allow-read", path)),
    write: itemsOf("write", options).map((path) => grantedPath("allow-write", path)),
    net: isNet(options["allow-net"]),
    ...named,
    runner: policyOfFlags(flags),
  };
}

/** Of a flag that names what it grants. */
function itemsOf(flag: Flag, options: SandboxOptionsGiven): string[] {
  const items = [options[`allow-${flag}`] ?? []].flat().flatMap((text) => text.split(","));
  const isName = flag === "env" || flag === "secret";
  const wrong = items.find((item) => (isName ? namePattern(item) === undefined : item === ""));
  if (wrong === undefined) return items;
  throw new SortieError("USAGE", `--allow-${flag} must name what it grants, and ${JSON.stringify(wrong)} does not.`, {
    hint: `Give it after a =, as in --allow-${flag}=${isName ? "CI,RELEASE_*" : "PATH"}.`,
  });
}

function isNet(value: SandboxOptionsGiven["allow-net"]): boolean {
  if (value === undefined) return false;
  if (value === "") return true;
  throw new SortieError("USAGE", "--allow-net takes no value: it is all of the network, or none.");
}

/** The same before anything is parsed, for `--help`. Throws USAGE. */
export async function grantsInWords(words: readonly string[]): Promise<SandboxGrants> {
  const given: Record<string, string[]> = {};
  for (const word of words) {
    const [, flag, value = ""] = /^--(allow-[a-z]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (flag !== undefined) (given[flag] ??= []).push(value);
  }
  const net = given["allow-net"]?.[0];
  const options = { ...given, ...(net === undefined ? {} : { "allow-net": net }), sandbox: true };
  return (await sandboxOf(options as SandboxOptionsGiven)) as SandboxGrants;
}
