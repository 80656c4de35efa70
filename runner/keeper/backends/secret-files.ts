// Secrets that a job has as files: each of mode 0600, in a folder of the job's own that lives in memory where this machine
// has a file system in memory. The local backend and that of containers make it before the first command and remove it
// with the job; what a keeper that died left, the next one finds by the folder's name.
import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../../../protocol/command.ts";
import { variableOf } from "../../../protocol/delivered-secret.ts";
import type { JobRequest } from "../../../protocol/messages.ts";
import { Refused, type SiteEvents } from "./backend.ts";

/** Of the file systems that have no disk, as statfs(2) numbers them: tmpfs, ramfs. */
const IN_MEMORY = [0x01021994, 0x858458f6];
const PREFIX = "sortie-secrets-";
/** Nobody but the runner's user gets through the folder to this one, which a container has. */
const SHARED = "files";

export interface SecretFiles {
  /** Where the files are; to be given to whatever runs the job. */
  readonly folder: string;
  remove(): void;
}

export interface Receiver {
  /** Told where the files are not in memory. */
  readonly events: Pick<SiteEvents, "note">;
  /** Tells the folders of one runner from another's. */
  readonly owner: string;
  /** Whose they are; default: this process's user. */
  readonly account?: { readonly uid: number; readonly gid: number } | undefined;
  /** Whoever runs where the folder is shared with may read them: its users have numbers that this machine does not know. */
  readonly shared?: boolean;
}

const filesOf = ({ secrets = [] }: JobRequest) => secrets.filter((secret) => secret.as === "file");

/** Undefined where the job has none. Throws Refused where they cannot be made; nothing is left then. */
export function writeSecretFiles(request: JobRequest, receiver: Receiver): SecretFiles | undefined {
  const { events, owner, account, shared = false } = receiver;
  const files = filesOf(request);
  if (files.length === 0) return undefined;
  const memory = inMemory(account !== undefined)[0];
  const parent = memory ?? tmpdir();
  const own = join(parent, `${PREFIX}${owner}-${request.attemptId}`);
  const folder = shared ? join(own, SHARED) : own;
  const remove = (): void => rmSync(own, { recursive: true, force: true });
  const refused = (error: unknown): Refused =>
    new Refused(
      "spawn",
      `the files of its secrets could not be made in ${parent} (${(error as NodeJS.ErrnoException).code ?? "an error"})`,
    );
  try {
    // Not one that is there: whoever made it could read what is put into it.
    mkdirSync(own, { mode: 0o700 });
  } catch (error) {
    throw refused(error);
  }
  try {
    if (shared) mkdirSync(folder, { mode: 0o700 });
    for (const { name, value } of files) {
      const path = join(folder, name);
      writeFileSync(path, value, { mode: 0o600, flag: "wx" });
      if (account) chownSync(path, account.uid, account.gid);
      else if (shared) chmodSync(path, 0o444);
    }
    if (account) chownSync(folder, account.uid, account.gid);
    else if (shared) chmodSync(folder, 0o755);
  } catch (error) {
    remove();
    throw refused(error);
  }
  if (memory === undefined)
    events.note("sortie", `its secrets are on disk as long as it runs, in ${parent}: nothing is in memory here`);
  return { folder, remove };
}

/** The request with the variables that have the files' paths. */
export function withPaths(request: JobRequest, pathOf: (name: string) => string): JobRequest {
  const paths = filesOf(request).map((secret): Environment[number] => [
    variableOf(secret) as string,
    pathOf(secret.name),
  ]);
  return paths.length === 0 ? request : { ...request, env: [...request.env, ...paths] };
}

/** Removes all of this owner: where its keeper begins, or ends without waiting, none of its jobs runs any more. */
export function removeSecretFiles(owner: string): void {
  for (const parent of new Set([...inMemory(false), tmpdir()])) {
    let names: string[] = [];
    try {
      names = readdirSync(parent).filter((name) => name.startsWith(`${PREFIX}${owner}-`));
    } catch {
      // It is not there.
    }
    for (const name of names)
      try {
        rmSync(join(parent, name), { recursive: true, force: true });
      } catch {
        // Another user has made it: what is removed is only one's own.
      }
  }
}

/** Folders in memory. The session's own is for its user alone. */
function inMemory(forAnother: boolean): string[] {
  const session = process.env["XDG_RUNTIME_DIR"];
  return ["/dev/shm", ...(session && !forAnother ? [session] : [])].filter((path) => {
    try {
      return IN_MEMORY.includes(statfsSync(path).type);
    } catch {
      return false;
    }
  });
}
