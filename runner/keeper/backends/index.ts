// Which backend runs a job. Container and ssh are loaded when the first job asks for them.
import { join } from "node:path";
import type { AttemptId } from "../../../protocol/ids.ts";
import { placeOf } from "../../../protocol/place.ts";
import type { Backend } from "./backend.ts";
import { localBackend } from "./local.ts";
import { removeSecretFiles } from "./secret-files.ts";

export interface BackendOptions {
  /** The keeper's. */
  readonly folder: string;
  /** Tells what this keeper made from what others did, on an engine that they share. */
  readonly owner: string;
  readonly log: (line: string) => void;
}

export interface Backends extends Backend {
  /** Whether what an attempt left is on this machine, and ended by its processes' marks as well. */
  isLocal(mark: string): boolean;
  /** Removes what jobs of this keeper, or of one before it, have of secrets on this machine. */
  removeSecrets(): void;
}

export function openBackends({ folder, owner, log }: BackendOptions): Backends {
  const local = localBackend(join(folder, "pipes"), owner);
  const container = once(async () => (await import("./container/container.ts")).containerBackend({ owner, log }));
  const ssh = once(async () => (await import("./ssh/ssh.ts")).sshBackend({ log }));
  const byName = { local: async (): Promise<Backend> => local, container: container.get, ssh: ssh.get };
  return {
    async open(request, workspace, events, cancelled, confine) {
      return (await byName[placeOf(request)]()).open(request, workspace, events, cancelled, confine);
    },
    async reap(attempt: AttemptId, mark) {
      const name = mark.split(" ")[0] ?? "";
      if (Object.hasOwn(byName, name)) await (await byName[name as keyof typeof byName]()).reap(attempt, mark);
    },
    isLocal: (mark) => mark.startsWith("local "),
    removeSecrets: () => removeSecretFiles(owner),
    async close() {
      await Promise.all([local.close(), (await container.made)?.close(), (await ssh.made)?.close()]);
    },
  };
}

function once<T>(make: () => Promise<T>): { get(): Promise<T>; readonly made: Promise<T> | undefined } {
  let made: Promise<T> | undefined;
  return {
    get() {
      made ??= make();
      return made;
    },
    get made() {
      return made;
    },
  };
}
