// Builds dist/: both commands and the recipes' SDK, bundled, so that starting one reads few files; and the SDK's types.
// Everything is made beside dist/ first, and only what changed is put in its place: commands of the same source go on
// running meanwhile, as they do when a recipe's job is this repository's own suite, which builds.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
/** No build takes as long: what is older was left by one that was killed. */
const ABANDONED_MS = 10 * 60_000;

mkdirSync(dist, { recursive: true });
const staging = mkdtempSync(join(dist, ".new-"));
try {
  await bundle();
  for (const bin of ["coordinator", "runner"]) chmodSync(join(staging, `${bin}.js`), 0o755);
  execFileSync(
    process.execPath,
    [
      join(root, "node_modules/typescript/bin/tsc"),
      "-p",
      join(root, "tsconfig.build.json"),
      "--outDir",
      join(staging, "types"),
    ],
    { stdio: "inherit", cwd: root },
  );
  publish();
} finally {
  rmSync(staging, { recursive: true, force: true });
}

async function bundle(): Promise<void> {
  const { warnings } = await build({
    absWorkingDir: root,
    entryPoints: {
      coordinator: "scripts/bin/coordinator.ts",
      runner: "scripts/bin/runner.ts",
      keeper: "scripts/bin/keeper.ts",
      sandbox: "scripts/bin/sandbox.ts",
      sdk: "coordinator/recipe/sdk.ts",
    },
    outdir: staging,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    chunkNames: "chunks/[name]-[hash]",
    // These load code of their own at run time, or are needed by few.
    external: ["tsx", "tsx/*", "esbuild", "@napi-rs/blake-hash", "dockerode", "ssh2"],
    // Its patterns take 20 ms to compile at every start, for the width of a help text or of a live view's line.
    alias: { "string-width": "fast-string-width" },
    legalComments: "none",
    logLevel: "warning",
  });
  if (warnings.length > 0) throw new Error(`the bundler has warnings: ${warnings.length}`);
}

/** Puts what is new in its place, each file at once, and then takes away what is no longer part of the build. */
function publish(): void {
  const made = filesOf(staging);
  // What others name comes before those who name it.
  for (const file of made.sort((a, b) => Number(b.startsWith("chunks/")) - Number(a.startsWith("chunks/")))) {
    const from = join(staging, file);
    const to = join(dist, file);
    if (existsSync(to) && readFileSync(from).equals(readFileSync(to))) continue;
    mkdirSync(dirname(to), { recursive: true });
    renameSync(from, to);
  }
  const current = new Set(made);
  for (const file of filesOf(dist)) if (!current.has(file)) rmSync(join(dist, file), { force: true });
  for (const name of readdirSync(dist).filter(isStaging)) {
    const path = join(dist, name);
    const madeAt = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (madeAt < Date.now() - ABANDONED_MS) rmSync(path, { recursive: true, force: true });
  }
}

/** Files below the folder, as paths relative to it; not those of builds under way, which may go while this looks. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [entry.name];
    return isStaging(entry.name) ? [] : filesOf(join(folder, entry.name)).map((name) => join(entry.name, name));
  });
}

function isStaging(name: string): boolean {
  return name.startsWith(".new-");
}
