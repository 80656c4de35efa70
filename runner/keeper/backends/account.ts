// The account a job asks to run as, looked up as the system has it (also where accounts come from a directory service).
import { execa } from "execa";
import { Refused } from "./backend.ts";

/** The number after it means "as it is" to the kernel: it would be root. */
const MOST = 2 ** 32 - 2;

export interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly name: string | undefined;
  readonly home: string;
}

/** `name`, `uid`, `name:group` or `uid:gid`. Throws Refused where there is none, or this process may not become it. */
export async function findAccount(user: string): Promise<Account> {
  if (process.getuid?.() !== 0) throw new Refused("spawn", `only a runner that root started can run a job as ${user}`);
  const [account = "", group] = user.split(":");
  const found = await lookUp("passwd", account);
  const gid = group === undefined ? found?.[3] : ((await lookUp("group", group))?.[2] ?? group);
  const uid = Number(found?.[2] ?? account);
  if (Number.isInteger(uid) && Number.isInteger(Number(gid)) && Math.max(uid, Number(gid)) > MOST)
    throw new Refused("spawn", `there is no user ${user}: ids end at ${MOST}`);
  if (!Number.isInteger(uid)) throw new Refused("spawn", `there is no user ${account} on the runner`);
  if (!Number.isInteger(Number(gid)))
    throw new Refused(
      "spawn",
      group === undefined
        ? `the user ${account} has no group: say ${account}:GROUP`
        : `there is no group ${group} on the runner`,
    );
  return { uid, gid: Number(gid), name: found?.[0], home: found?.[5] || "/" };
}

async function lookUp(database: "passwd" | "group", key: string): Promise<string[] | undefined> {
  const { failed, exitCode, stdout, message } = await execa("getent", ["--", database, key], { reject: false });
  if (!failed) return stdout.split("\n")[0]?.split(":");
  // 2: there is no such entry.
  if (exitCode === 2) return undefined;
  throw new Refused("spawn", `the ${database} entry of ${key} cannot be looked up: ${message?.split("\n")[0]}`);
}
