// What a container's root left in the job's directory belongs to root there, and a runner that is another user could not
// remove it. container.ts asks before a job's containers go.
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { create } from "./create.ts";
import { type Place, WORKSPACE } from "./create-body.ts";
import type { Engine } from "./engine.ts";

/** Gives it to this user by a container of the job's own image, as far as that has a chown. Never rejects. */
export async function giveBack(engine: Engine, image: string, workspace: string, place: Place): Promise<void> {
  const user = process.getuid?.() ?? 0;
  if (user === 0 || !("directory" in place.workspace) || ownsAll(workspace, user)) return;
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
        Labels: { ...place.labels },
        HostConfig: {
          NetworkMode: "none",
          SecurityOpt: ["no-new-privileges"],
          LogConfig: { Type: "none", Config: {} },
          Mounts: [{ Type: "bind", Source: workspace, Target: WORKSPACE }],
        },
      },
      undefined,
    );
    await container.start();
    await container.wait({ condition: "not-running" });
  } catch {
    // Then what cannot be removed stays, and the keeper says so.
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
