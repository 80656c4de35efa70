// Hosts here are processes that serve their folder's state over HTTP: healthy unless that says otherwise.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { runRecipe, setOf } from "./run.ts";

const serving = `
  const { readFileSync } = require("node:fs");
  require("node:http").createServer((request, response) => {
    const version = readFileSync("version", "utf8");
    response.writeHead(request.url === "/health" && !readFileSync("hates", "utf8").includes(version) ? 200 : 503).end();
  }).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;

interface Hosts extends AsyncDisposable {
  readonly addresses: readonly string[];
  versions(): string[];
}

/** Each runs version 1; `hates` is the version that is not healthy on one of them. */
async function startHosts(
  rig: Rig,
  count: number,
  hates: { readonly index: number; readonly version: string },
): Promise<Hosts> {
  const children: ChildProcess[] = [];
  const addresses: string[] = [];
  for (let index = 0; index < count; index++) {
    const folder = join(rig.folder, `host-${index}`);
    mkdirSync(folder);
    writeFileSync(join(folder, "version"), "1");
    writeFileSync(join(folder, "hates"), index === hates.index ? hates.version : "none");
    const child = spawn(process.execPath, ["-e", serving], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    const port = await new Promise<string>((resolve) =>
      child.stdout.once("data", (bytes) => resolve(String(bytes).trim())),
    );
    addresses.push(`127.0.0.1:${port}`);
    // How the commands find the host's folder.
    mkdirSync(join(rig.folder, "by-address"), { recursive: true });
    writeFileSync(join(rig.folder, "by-address", `127.0.0.1:${port}`), folder);
  }
  return {
    addresses,
    versions: () => addresses.map((_, index) => readFileSync(join(rig.folder, `host-${index}`, "version"), "utf8")),
    async [Symbol.asyncDispose]() {
      await Promise.all(
        children.map((child) => {
          const gone = new Promise((resolve) => child.once("exit", resolve));
          child.kill();
          return gone;
        }),
      );
    },
  };
}

function paramsOf(rig: Rig, hosts: Hosts): Record<string, string | number> {
  const version = `"$(cat ${rig.folder}/by-address/$HOST)/version"`;
  const deploy = `echo $HOST >> ${rig.folder}/deployed; printf %s "$VERSION" > ${version}`;
  return { hosts: JSON.stringify(hosts.addresses), deploy, rollback: `printf 1 > ${version}`, seconds: 30, batch: 2 };
}

describe("the recipe of a rolling deploy", () => {
  it("brings every host to the version, batch by batch", async () => {
    await using rig = new Rig();
    await using hosts = await startHosts(rig, 5, { index: 2, version: "bad" });
    const { code, jobs, shown } = await runRecipe(rig, "rolling-deploy", { ...paramsOf(rig, hosts), version: "2" });
    expect([code, jobs["roll"]?.outcome, jobs["back"]?.outcome]).toEqual([0, "passed", "skipped"]);
    expect(hosts.versions()).toEqual(["2", "2", "2", "2", "2"]);
    expect(shown).toMatch(/2 of 5 hosts[\s\S]*4 of 5 hosts[\s\S]*5 of 5 hosts run 2/);
  });

  it("rolls back those that were touched where one is not healthy, and touches no other", async () => {
    await using rig = new Rig();
    await using hosts = await startHosts(rig, 5, { index: 2, version: "2" });
    // So long it is waited for; the others have to answer within that, too.
    const params = { ...paramsOf(rig, hosts), version: "2", seconds: 4 };
    const { code, jobs } = await runRecipe(rig, "rolling-deploy", params);
    expect([code, jobs["roll"]?.outcome, jobs["back"]?.outcome]).toEqual([1, "failed", "passed"]);
    expect(jobs["roll"]?.message).toContain(`${hosts.addresses[2]}/health did not become healthy: status 503`);
    expect(hosts.versions()).toEqual(["1", "1", "1", "1", "1"]);
    const deployed = readFileSync(join(rig.folder, "deployed"), "utf8").trim().split("\n");
    expect(deployed.sort()).toEqual(hosts.addresses.slice(0, 4).toSorted());
  });

  it("rolls back when it is cancelled in the middle", async () => {
    await using rig = new Rig();
    await using hosts = await startHosts(rig, 3, { index: 2, version: "2" });
    const params = { ...paramsOf(rig, hosts), version: "2", seconds: 60 };
    const live = rig.spawnCoordinator(["run", "recipes/rolling-deploy.ts", ...setOf(params)]);
    await live.waitFor(/2 of 3 hosts run 2/);
    expect(hosts.versions().slice(0, 2)).toEqual(["2", "2"]);
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    expect(hosts.versions()).toEqual(["1", "1", "1"]);
  });
});
