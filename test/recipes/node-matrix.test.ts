import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { testEngine } from "../rig/engine.ts";
import { Rig, root } from "../rig/rig.ts";
import { nodeImage } from "./node-image.ts";

/** The machine's own Node, beside that of this repository; where there is none, that is both. */
const machines = ["/usr/bin/node", "/usr/local/bin/node"].find(existsSync) ?? process.execPath;
const versionOf = (node: string): string => execFileSync(node, ["--version"], { encoding: "utf8" }).trim();

/** A folder for each Node, with nothing else in it. */
function twoNodes(rig: Rig): Record<"repository" | "machine", string> {
  const folderOf = (name: string, node: string): string => {
    const folder = join(rig.folder, name);
    mkdirSync(folder);
    symlinkSync(node, join(folder, "node"));
    return folder;
  };
  return { repository: folderOf("repository", process.execPath), machine: folderOf("machine", machines) };
}

const run = (rig: Rig, folder: string, installed: object, ...args: readonly string[]) => {
  const versions = JSON.stringify(Object.keys(installed));
  const params = [`folder=${folder}`, `versions=${versions}`, `installed=${JSON.stringify(installed)}`];
  return rig.coordinator(["run", "recipes/node-matrix.ts", ...params.flatMap((param) => ["--set", param]), ...args]);
};

describe("recipes/node-matrix.ts", () => {
  it(`builds and tests a package on ${versionOf(process.execPath)} and ${versionOf(machines)}, and sums up`, async () => {
    await using rig = new Rig();
    const folder = join(rig.folder, "package");
    cpSync(join(root, "recipes/example"), folder, {
      recursive: true,
      filter: (path) => !path.endsWith("node_modules"),
    });
    const { code, text } = await run(rig, folder, twoNodes(rig));
    expect(code).toBe(0);
    expect(text).toMatch(new RegExp(`test\\[node=repository\\] +│ ${versionOf(process.execPath)}\n`));
    expect(text).toMatch(new RegExp(`test\\[node=machine\\] +│ ${versionOf(machines)}\n`));
    for (const cell of ["repository", "machine"])
      expect(text).toMatch(new RegExp(`test\\[node=${cell}\\] .*words are what is between spaces and signs`));
    expect(text).toMatch(/summary +│ lint +passed/);
    expect(text).toMatch(/summary +│ node=machine +passed in/);
    // The package itself was left as it is.
    expect(existsSync(join(folder, "node_modules"))).toBe(false);
  });

  it("sums up also where one version fails, and tells which", async () => {
    await using rig = new Rig();
    const folder = join(rig.folder, "package");
    const nodes = twoNodes(rig);
    mkdirSync(folder);
    const scripts = { build: "node --version > built", test: `test "$(command -v node)" != ${nodes.machine}/node` };
    const manifest = { name: "picky", version: "1.0.0", scripts };
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
    const packages = { "": { name: "picky", version: "1.0.0" } };
    writeFileSync(
      join(folder, "package-lock.json"),
      JSON.stringify({ ...manifest, scripts: undefined, lockfileVersion: 3, packages }),
    );
    const { code, text } = await run(rig, folder, nodes);
    expect(code).toBe(1);
    expect(text).toMatch(/summary +│ node=repository +passed in/);
    expect(text).toMatch(/summary +│ node=machine +failed in/);
    expect(existsSync(join(folder, "built"))).toBe(false);
    expect(readFileSync(join(folder, "package.json"), "utf8")).toBe(JSON.stringify(manifest));
  });

  it("leaves out versions that are neither installed nor, without an engine, in reach", async () => {
    await using rig = new Rig();
    const params = ['versions=["24"]', "installed={}", "probe=false"];
    const { code, text } = await rig.coordinator([
      ...["run", "recipes/node-matrix.ts", ...params.flatMap((param) => ["--set", param])],
    ]);
    expect(code).toBe(0);
    expect(text).toMatch(/summary +│ node=24 +skipped/);
  });
});

const engine = await testEngine("docker");
const missing = "missing" in engine ? engine.missing : undefined;

describe.skipIf(missing !== undefined)(`recipes/node-matrix.ts in containers${missing ? ` (${missing})` : ""}`, () => {
  it("takes a container of the version's image where the version is not installed", async () => {
    const host = "host" in engine ? engine.host : "";
    // Never the name of an image that somebody has.
    using _ = nodeImage(host, "node:sortie-test");
    await using rig = new Rig();
    const params = ['versions=["sortie-test"]', "installed={}", "probe=true"];
    const { code, text } = await rig.coordinator(
      ["run", "recipes/node-matrix.ts", ...params.flatMap((param) => ["--set", param])],
      { env: { DOCKER_HOST: host } },
    );
    expect(code).toBe(0);
    expect(text).toMatch(new RegExp(`test\\[node=sortie-test\\] +│ ${process.version}\n`));
    expect(text).toMatch(/test\[node=sortie-test\] +│ ✔ everybody is greeted/);
    expect(text).toMatch(/summary +│ node=sortie-test +passed in/);
  });
});
