// Builds dist/: both commands and the recipes' SDK, bundled, so that starting one reads few files; and the SDK's types.
import { execFileSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
rmSync(dist, { recursive: true, force: true });

const { warnings } = await build({
  absWorkingDir: root,
  entryPoints: {
    coordinator: "scripts/bin/coordinator.ts",
    runner: "scripts/bin/runner.ts",
    sdk: "coordinator/recipe/sdk.ts",
  },
  outdir: dist,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  chunkNames: "chunks/[name]-[hash]",
  // Both load code of their own at run time.
  external: ["tsx", "tsx/*", "esbuild"],
  // Some dependencies are CommonJS and call require().
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
  legalComments: "none",
  logLevel: "warning",
});
if (warnings.length > 0) process.exit(1);
for (const bin of ["coordinator", "runner"]) chmodSync(join(dist, `${bin}.js`), 0o755);

if (!process.argv.includes("--no-types")) {
  execFileSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "-p", join(root, "tsconfig.build.json")],
    { stdio: "inherit", cwd: root },
  );
}
