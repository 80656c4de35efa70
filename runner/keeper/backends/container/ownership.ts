// What a container's root left in the job's directory belongs to root there, and a runner that is another user could not
// remove it. container.ts asks at a job's end.
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../../../protocol/limits.ts";
import { create } from "./create.ts";
import { WORKSPACE } from "./create-body.ts";
import type { Engine } from "./engine.ts";
import { statusOf } from "./engine-error.ts";
import type { Mark } from "./mark.ts";
import { endOf } from "./wait.ts";

/** Of what is the image's own program, and root there: no more of the machine than its job had. */
const LIMITED = {
  Memory: limits.confinedMemoryBytes,
  MemorySwap: limits.confinedMemoryBytes,
  CpuPeriod: 100_000,
  CpuQuota: limits.confinedCpus * 100_000,
  PidsLimit: limits.confinedPids,
};

/** Gives it to this user by a container of the job's own image, as far as that has a chown. Rejects where the engine is gone. */
export async function giveBack(
  engine: Engine,
  { image, workspace, confined }: NonNullable<Mark["owned"]>,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const user = process.getuid?.() ?? 0;
  if (user === 0 || !engine.isLocal || ownsAll(workspace, user)) return;
  try {
    const owner = `${user}:${process.getgid?.() ?? user}`;
    const container = await create(
      engine,
      {
        Image: image,
        Entrypoint: ["chown", "-hR", owner, WORKSPACE],
        Cmd: [],
        User: "0",
        WorkingDir: "/",
        Labels: { ...labels },
        HostConfig: {
          NetworkMode: "none",
          SecurityOpt: ["no-new-privileges"],
          // The image's own chown, of whoever made the image: it needs this much.
          CapDrop: ["ALL"],
          CapAdd: ["CHOWN", "DAC_OVERRIDE"],
          ...(confined ? LIMITED : {}),
          LogConfig: { Type: "none", Config: {} },
          Mounts: [{ Type: "bind", Source: workspace, Target: WORKSPACE }],
        },
      },
      undefined,
    );
    try {
      await container.start();
      await endOf(engine, container.id);
    } finally {
      await container.remove({ force: true });
    }
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
    // An image without a chown: what cannot be removed stays, and the keeper says so.
  }
}

function ownsAll(folder: string, user: number): boolean {
  try {
    return readdirSync(folder, { withFileTypes: true }).every((entry) => {
      const path = join(folder, entry.name);
      return lstatSync(path).uid === user && (!entry.isDirectory() || ownsAll(path, user));
    });
  } catch {
    return false;
  }
}
