import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "./rig/rig.ts";

const npm = (args: readonly string[], cwd: string): string =>
  execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** A built command, and folders of its own for what it keeps between starts. */
function commandWithCaches(folder: string, name: string) {
  const [cache, temporary] = [join(folder, name, "cache"), join(folder, name, "tmp")];
  mkdirSync(cache, { recursive: true });
  mkdirSync(temporary);
  const { NODE_COMPILE_CACHE: _, NODE_DISABLE_COMPILE_CACHE: __, NODE_OPTIONS: ___, ...inherited } = process.env;
  const env = { ...inherited, XDG_CACHE_HOME: cache, TMPDIR: temporary };
  const start = () => spawnSync(process.execPath, [join(root, "dist/coordinator.js"), "--version"], { env }).status;
  return { cache, temporary, start };
}

describe("the package", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "sortie-package-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("works in a project that installs it: recipes import it, types check, and both commands run", () => {
    const [{ filename = "" } = {}] = JSON.parse(
      npm(["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root),
    ) as { filename: string }[];
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "project", type: "module", private: true }));
    npm(["install", "--prefer-offline", "--no-audit", "--no-fund", join(folder, filename)], folder);
    writeFileSync(
      join(folder, "recipe.ts"),
      `import { job, recipe, sh } from "sortie";\nconst who: string = "the project";\nexport default recipe({ hi: job({ run: sh\`echo hello from \${who}\` }) });\n`,
    );
    const environment = { ...process.env, SORTIE_HOME: join(folder, "home"), CI: "true" };
    const coordinator = join(folder, "node_modules/.bin/coordinator");
    // The commands are started by the Node that runs this test: the machine's own may be older than what they need.
    const text = execFileSync(process.execPath, [coordinator, "run", "recipe.ts"], {
      cwd: folder,
      env: environment,
      encoding: "utf8",
    });
    expect(text).toContain("hi │ hello from the project");
    const version = execFileSync(process.execPath, [join(folder, "node_modules/.bin/runner"), "--version"], {
      env: environment,
      encoding: "utf8",
    });
    expect(version.trim()).toBe(
      (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version,
    );
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const check = (file: string): string => {
      try {
        return execFileSync(
          process.execPath,
          [tsc, "--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", file],
          { cwd: folder, encoding: "utf8" },
        );
      } catch (error) {
        return String((error as { stdout: string }).stdout);
      }
    };
    expect(check("recipe.ts")).toBe("");
    writeFileSync(join(folder, "wrong.ts"), `import { job } from "sortie";\njob({ run: "true", needs: ["hi"] });\n`);
    expect(check("wrong.ts")).toContain("wrong.ts(2,");
  }, 300_000);

  it("says what it needs to a Node that is too old", () => {
    // The command's first module alone, under a version that it is told: an old Node itself may not be on the machine.
    const begin = join(root, "scripts/bin/begin.ts");
    const script = `Object.defineProperty(process.versions, "node", { value: "20.1.0" }); (await import(${JSON.stringify(begin)})).begin();`;
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    expect(status).toBe(2);
    expect(stderr).toContain("Sortie needs Node 24 or newer");
  });

  it("keeps compiled code in the user's own cache folder, and not in the shared temporary one", () => {
    const { cache, temporary, start } = commandWithCaches(folder, "own");
    expect(start()).toBe(0);
    expect(readdirSync(join(cache, "sortie"))).toHaveLength(1);
    expect(statSync(join(cache, "sortie")).mode & 0o777).toBe(0o700);
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("uses no compiled code from a folder that others may write to", () => {
    const { cache, temporary, start } = commandWithCaches(folder, "open");
    mkdirSync(join(cache, "sortie"));
    chmodSync(join(cache, "sortie"), 0o777);
    expect(start()).toBe(0);
    expect(readdirSync(join(cache, "sortie"))).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  });

  it("is built anew without touching what did not change: commands go on meanwhile", () => {
    const dist = join(root, "dist");
    const files = (): string[] =>
      readdirSync(dist, { recursive: true, encoding: "utf8" })
        .filter((name) => !name.startsWith(".new-"))
        .sort()
        .map((name) => `${name} ${statSync(join(dist, name)).ino}`);
    const before = files();
    execFileSync(process.execPath, [join(root, "scripts/build.ts")]);
    expect(files()).toEqual(before);
  });

  it("has a lock file that names no registry", () => {
    expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toMatch(/"resolved"|https?:\/\/[^"]*\.tgz/);
  });
});
