// A job of two steps by whoever runs this, as a test has it done by a user who is not root: the container's root leaves
// files in the workspace. Prints whether all of it belongs to this user then, and can be removed.
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Containers, collect, requestOf } from "./containers.ts";

const containers = new Containers(process.env["DOCKER_HOST"] ?? "");
const request = requestOf({ steps: ["mkdir -m 700 -p deep/er; touch deep/er/file; chmod 700 deep; ln -s /etc link"] });
const workspace = containers.workspace(request);
const site = await containers.backend.open(request, workspace, containers.events, new AbortController().signal);
const { settled } = await collect(
  await site.start({ command: request.steps[0] as never, stdin: false }, new AbortController().signal),
);
await site.end();
const owner = (): number => lstatSync(join(workspace, "deep")).uid;
const before = owner();
await site.close();
const after = owner();
const names = readdirSync(workspace).sort();
rmSync(workspace, { recursive: true });
await containers.close();
process.stdout.write(
  JSON.stringify({ settled, before, after, names, left: await containers.left(), logged: containers.logged }),
);
