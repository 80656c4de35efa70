// The rules of every kind.
import type { Kind } from "../policy.ts";
import { cwdRules } from "./cwd.ts";
import { envRules } from "./env.ts";
import { filesRules } from "./files.ts";
import { imageRules } from "./image.ts";
import type { KindRules } from "./kind.ts";
import { mountRules } from "./mount.ts";
import { networkRules } from "./network.ts";
import { privilegedRules } from "./privileged.ts";
import { runRules } from "./run.ts";
import { secretRules } from "./secret.ts";
import { shellRules } from "./shell.ts";
import { sshRules } from "./ssh.ts";
import { userRules } from "./user.ts";

/** What an item is, is its kind's own affair: it goes from parse() to matches() of the same kind. */
// biome-ignore lint/suspicious/noExplicitAny: of each kind another type, and never looked at here.
type AnyRules = KindRules<any>;

export const rulesOf: { readonly [K in Kind]: AnyRules } = {
  run: runRules,
  shell: shellRules,
  image: imageRules,
  mount: mountRules,
  privileged: privilegedRules,
  network: networkRules,
  ssh: sshRules,
  env: envRules,
  cwd: cwdRules,
  files: filesRules,
  user: userRules,
  secret: secretRules,
};
