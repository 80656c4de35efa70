// What Node's permission model leaves open, closed before a recipe's code runs in its own process: signals to other processes of the
// same user, the coordinator's among them, and what changes how this process itself works. sandbox/child.ts calls it first.

import { syncBuiltinESMExports } from "node:module";
import os from "node:os";
import v8 from "node:v8";

export function fence(): void {
  for (const name of ["kill", "_kill", "_debugProcess", "_debugEnd"] as const) refuse(process, name, "Signals");
  refuse(os, "setPriority", "Signals");
  // Flags of V8 that are for its own tests turn off what its memory is guarded by.
  refuse(v8, "setFlagsFromString", "V8Flags");
  // What is printed is taken as far as it goes: more than that is nobody's error.
  for (const output of [process.stdout, process.stderr]) output.on("error", () => {});
  syncBuiltinESMExports();
}

/** For good: what a recipe could put back would be no fence. */
function refuse(where: object, name: string, permission: string): void {
  const value = (): never => {
    throw Object.assign(new Error(`Access to ${name}() has been restricted.`), {
      code: "ERR_ACCESS_DENIED",
      permission,
      resource: "",
    });
  };
  Object.defineProperty(where, name, { value, writable: false, configurable: false, enumerable: true });
}
