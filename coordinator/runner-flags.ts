// What the runner on this machine may do for a sandboxed recipe, out of flags: the same as those of `runner start`. It may import
// the runner's own, as fleet.ts may, which embeds it.
import { policyOfFlags as policyOf } from "../runner/grants/flags.ts";
import type { EmbeddedGrants } from "./fleet.ts";

/** `allow-KIND` with what was given, or undefined. Throws USAGE. */
export function policyOfFlags(flags: Readonly<Record<string, unknown>>): EmbeddedGrants {
  const { allow } = policyOf({ ...flags, "allow-all": false } as Parameters<typeof policyOf>[0]);
  return allow === true ? {} : allow;
}
