// `runner start --audit-only`: what jobs would have needed, collected for the person who is to write the flags.
import { limits } from "../../protocol/limits.ts";
import { addItems, flagsOf, itemsFor } from "./needed.ts";
import type { ByKind, Want } from "./policy.ts";

export interface AuditOnly {
  /** Called for each job that was refused. */
  missing(wants: readonly Want[]): void;
  /** All that was missing so far. */
  flags(): string[];
}

/** `told` has the flags of each job. */
export function auditOnly(told: (flags: readonly string[]) => void): AuditOnly {
  let needed: ByKind = {};
  let count = 0;
  return {
    missing(wants) {
      let own: ByKind = {};
      for (const want of wants) {
        own = addItems(own, want.kind, itemsFor(want));
        if (count++ < limits.auditedItems) needed = addItems(needed, want.kind, itemsFor(want));
      }
      told(flagsOf(own));
    },
    flags: () => flagsOf(needed),
  };
}
