// What a runner may be told to allow, as values: kinds of grants, what a request wants of them, and a policy that allows or
// denies. decide.ts judges by it; flags and the policy file are read into it.

/** Each is a flag, `--allow-KIND` and `--deny-KIND`, and a word in the policy file. docs/grants.md tells them. */
export const kinds = [
  "run",
  "shell",
  "image",
  "mount",
  "privileged",
  "network",
  "ssh",
  "env",
  "cwd",
  "files",
  "user",
  "secret",
] as const;
export type Kind = (typeof kinds)[number];

/** One thing that a request needs to be let do. */
export interface Want {
  readonly kind: Kind;
  /** What the kind's items are compared with. Of the request's own words, and never a secret, nor a whole command. */
  readonly value: string;
  /** For people, after "to": `run "git"`. */
  readonly what: string;
  /** What the value comes to on this runner, and is judged by: a path without its links, a host with its user. */
  readonly resolved?: Resolved;
}

/** Never told to a peer. Without any name it is covered by nothing but a policy that allows everything and denies nothing of its kind. */
export interface Resolved {
  readonly names: readonly string[];
  /** Other names of it, that only items that deny are compared with. */
  readonly also?: readonly string[];
}

/** Of one kind: everything, or what these items match. */
export type Items = true | readonly string[];
export type ByKind = { readonly [K in Kind]?: Items };

export interface Policy {
  /** `true`: everything of every kind, as `--allow-all` says. */
  readonly allow: true | ByKind;
  /** Wins over whatever is allowed. */
  readonly deny: ByKind;
}

export const allowAll: Policy = { allow: true, deny: {} };
