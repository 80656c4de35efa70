// The policy file: grants for every coordinator, for groups of them, and for single ones. Read whole and checked whole: one
// that is wrong anywhere grants nothing. grants.ts has it for a runner, `runner policy` for people.
import { closeSync, fstatSync, openSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { replaceFile, unusable } from "../../protocol/home.ts";
import { parseJson } from "../../protocol/json.ts";
import { limits } from "../../protocol/limits.ts";
import { locked } from "../../protocol/lock.ts";
import { RunnerName } from "../../protocol/messages.ts";
import { GroupName, PeerText } from "../../protocol/trust.ts";
import { compile, type Section } from "./decide.ts";
import { addItems, itemsFor } from "./needed.ts";
import { type ByKind, type Kind, kinds, type Want } from "./policy.ts";

const Items = v.union([v.literal(true), v.array(v.string())], "true, or a list of items");
const ByKinds = v.strictObject(
  Object.fromEntries(kinds.map((kind) => [kind, v.optional(Items)])) as {
    [K in Kind]: v.OptionalSchema<typeof Items, undefined>;
  },
);
const grants = { allow: v.optional(v.union([v.literal(true), ByKinds])), deny: v.optional(ByKinds) };
const Grants = v.strictObject(grants);
/** A coordinator, by its name in `runner trust list`, or by its peer ID. */
const Peer = v.union([PeerText, RunnerName], "a coordinator's name or peer ID");

export const PolicyFile = v.strictObject({
  $schema: v.optional(v.string()),
  ...grants,
  peers: v.optional(v.record(Peer, Grants)),
  groups: v.optional(v.record(GroupName, v.strictObject({ ...grants, members: v.optional(v.array(Peer)) }))),
});
export type PolicyFile = v.InferOutput<typeof PolicyFile>;

export interface LoadedPolicy {
  /** Holds for every coordinator. */
  readonly common: Section;
  /** By name or peer ID. */
  readonly peers: ReadonlyMap<string, Section>;
  readonly groups: ReadonlyMap<string, { readonly section: Section; readonly members: ReadonlySet<string> }>;
}

export interface PolicyPeer {
  readonly peer: string;
  readonly name: string;
  /** The group that it was invited into. */
  readonly group?: string | undefined;
  /** Identities that it had before: what was said of them holds for it, or a new key would be the way out. */
  readonly formerly?: readonly string[] | undefined;
}

/** Throws POLICY_INVALID; for a file that is not there as well. */
export const loadPolicy = (path: string): LoadedPolicy => compileFile(readPolicy(path), path);

/** Those that hold for the peer: for all, of its groups, of its IDs and of its name. */
export function sectionsOf(
  { common, peers, groups }: LoadedPolicy,
  { peer, name, group, formerly = [] }: PolicyPeer,
): Section[] {
  const called = [peer, ...formerly, name];
  const ofGroups = [...groups].filter(
    ([one, { members }]) => one === group || called.some((each) => members.has(each)),
  );
  return [common, ...ofGroups.map(([, { section }]) => section), ...called.flatMap((each) => peers.get(each) ?? [])];
}

/** All of it. */
export const allSections = ({ common, peers, groups }: LoadedPolicy): Section[] => [
  common,
  ...[...groups.values()].map(({ section }) => section),
  ...peers.values(),
];

/** Whether the file speaks of a coordinator of this name. */
export const namesPeer = ({ peers, groups }: LoadedPolicy, fits: (name: string) => boolean): boolean =>
  [...peers.keys(), ...[...groups.values()].flatMap(({ members }) => [...members])].some(fits);

/** Adds to what one coordinator is allowed; makes the file where there is none. */
export function allowInFile(path: string, peer: string, want: Want): void {
  locked(path, () => {
    const before: PolicyFile = statSync(path, { throwIfNoEntry: false }) ? readPolicy(path) : {};
    const { allow = {}, ...rest } = before.peers?.[peer] ?? {};
    const more = allow === true ? true : addItems(allow as ByKind, want.kind, itemsFor(want));
    const after = { ...before, peers: { ...before.peers, [peer]: { ...rest, allow: more } } };
    compileFile(v.parse(PolicyFile, after), path);
    try {
      replaceFile(path, `${JSON.stringify(after, null, 2)}\n`);
    } catch (error) {
      throw unusable(path, error);
    }
  });
}

function readPolicy(path: string): PolicyFile {
  let bytes: Buffer;
  try {
    bytes = readUnshared(path);
  } catch (error) {
    if (error instanceof SortieError) throw error;
    throw invalid(path, `it cannot be read: ${(error as Error).message}`, error);
  }
  let json: unknown;
  try {
    // As what comes from peers is read: of two members of one name, the second would undo what the first denies.
    json = parseJson(bytes);
    JSON.parse(bytes.toString(), refuseSpecialNames);
  } catch (error) {
    throw invalid(path, `it is no JSON that can be taken: ${(error as Error).message}`, error);
  }
  const parsed = v.safeParse(PolicyFile, json);
  if (parsed.success) return parsed.output;
  throw invalid(path, whatIsWrong(parsed.issues[0]).slice(0, 300));
}

/** Where one of several things is expected, what is wrong in the one that was meant: that it is none of them helps nobody. */
export function whatIsWrong(issue: v.BaseIssue<unknown>): string {
  const at = v.getDotPath(issue);
  const within = issue.issues?.find(({ path }) => path !== undefined);
  const rest = within ? whatIsWrong(within) : issue.message;
  return at ? `${at}${within ? "." : ": "}${rest}` : rest;
}

/** The schema would pass over members of these names, and with them what they deny. */
function refuseSpecialNames(key: string, value: unknown): unknown {
  if (["__proto__", "constructor", "prototype"].includes(key)) throw new Error(`${key} is no name here`);
  return value;
}

/** Whoever can write to it, or put another in its place, decides what runs here. */
function readUnshared(path: string): Buffer {
  const real = realpathSync(path);
  for (const folder of new Set([dirname(resolve(path)), dirname(real)])) refuseOthers(folder, statSync(folder));
  // One open file for the look and the reading: what is read is what was looked at.
  const file = openSync(real, "r");
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw invalid(path, "it is no file");
    refuseOthers(real, stat);
    if (stat.size > limits.policyBytes) throw invalid(path, `it is longer than ${limits.policyBytes} bytes`);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

function refuseOthers(path: string, { mode, uid }: Stats): void {
  const octal = (mode & 0o777).toString(8);
  if ((mode & 0o022) !== 0) throw invalid(path, `it can be written to by others (mode ${octal}): chmod go-w ${path}`);
  if (uid !== 0 && uid !== process.getuid?.()) throw invalid(path, `it belongs to another user (${uid})`);
}

function compileFile(file: PolicyFile, path: string): LoadedPolicy {
  const section = ({ allow = {}, deny = {} }: v.InferOutput<typeof Grants>, from: string): Section => {
    try {
      return compile({ allow: allow as ByKind | true, deny: deny as ByKind }, from);
    } catch (error) {
      throw invalid(path, `${from}: ${(error as Error).message.replace(/\.$/, "")}`, error);
    }
  };
  return {
    common: section(file, "policy"),
    peers: new Map(
      Object.entries(file.peers ?? {}).map(([name, grants]) => [name, section(grants, `policy peers.${name}`)]),
    ),
    groups: new Map(
      Object.entries(file.groups ?? {}).map(([name, { members = [], ...grants }]) => [
        name,
        { section: section(grants, `policy groups.${name}`), members: new Set(members) },
      ]),
    ),
  };
}

const invalid = (path: string, why: string, cause?: unknown): SortieError =>
  new SortieError("POLICY_INVALID", `The policy ${path} cannot be used: ${why}.`, { cause });
