// Grants as flags of `runner start`: --allow-KIND[=ITEM,…], --deny-KIND[=ITEM,…], and --allow-all.
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { addItems } from "./needed.ts";
import { type ByKind, type Items, type Kind, kinds, type Policy } from "./policy.ts";

type FlagValue = string | readonly string[] | undefined;
export type GrantOptions = {
  readonly [K in Kind as `allow-${K}` | `deny-${K}`]: FlagValue;
} & { readonly "allow-all": boolean };

const describes: { readonly [K in Kind]: string } = {
  run: "Programs, by name or absolute path: git,/opt/tool",
  shell: "Commands that are strings, run by /bin/sh",
  image: "Containers, of images: alpine:*,ghcr.io/acme/*",
  mount: "Paths of this machine in containers: /srv/data:ro",
  privileged: "Containers with more rights than usual",
  network: "Networks for containers",
  ssh: "Hosts that this user reaches by ssh: deploy@web*",
  env: "Variables that jobs set: CI,NODE_*",
  cwd: "Folders where jobs ask to run: /srv/app",
  files: "Files of this machine that Sortie itself is asked for: /srv/app",
  user: "Whom jobs ask to run as: nobody,1000",
  secret: "Secrets that coordinators deliver: DEPLOY_TOKEN,CI_*",
};

/** Over the flags, in the help of each command that has them. */
export const GRANTS = "Grants; each --allow-KIND has a --deny-KIND, which wins:";

export function grantOptions<T>(yargs: Argv<T>): Argv<T> {
  yargs.option("allow-all", {
    alias: "A",
    type: "boolean",
    default: false,
    describe: "Let trusted coordinators run anything this user can, but what a --deny-… says",
  });
  for (const kind of kinds) {
    yargs.option(`allow-${kind}`, { type: "string", describe: describes[kind] });
    yargs.option(`deny-${kind}`, { type: "string", describe: "The same, denied", hidden: true });
  }
  return yargs.group(["allow-all", ...kinds.map((kind) => `allow-${kind}`)], GRANTS);
}

/**
 * `argv`: the words as they were given. Throws USAGE for an empty item: `--allow-run=$LIST` with nothing in LIST must not
 * mean everything.
 */
export function policyOfFlags(options: GrantOptions, argv: readonly string[] = process.argv): Policy {
  const words = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  const empty = words.find(
    (word, at) =>
      /^--(allow|deny)-[a-z]+=$/.test(word) || (/^--(allow|deny)-[a-z]+$/.test(word) && words[at + 1] === ""),
  );
  if (empty !== undefined) throw noItem(empty);
  const allow = byKind(options, "allow");
  return { allow: options["allow-all"] ? true : allow, deny: byKind(options, "deny") };
}

function byKind(options: GrantOptions, verb: "allow" | "deny"): ByKind {
  let all: ByKind = {};
  for (const kind of kinds)
    for (const text of [options[`${verb}-${kind}`] ?? []].flat())
      all = addItems(all, kind, itemsOf(`--${verb}-${kind}`, text));
  return all;
}

/** A flag without a value is the whole kind. */
function itemsOf(flag: string, text: string): Items {
  if (text === "") return true;
  const items = text.split(",").map((item) => item.trim());
  if (items.includes("")) throw noItem(`${flag}=${text}`);
  return items;
}

const noItem = (flag: string): SortieError =>
  new SortieError("USAGE", `${flag} has an empty item.`, {
    hint: "Without a = the flag stands for everything of its kind; with one it lists items between commas.",
  });
