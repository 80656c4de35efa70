/** Node matrix: lints a Node package once, builds and tests it on several Node versions, and sums up. */
import { dirname, join } from "node:path";
import { job, matrix, recipe, sh } from "sortie";
import * as v from "valibot";

const [major = ""] = process.versions.node.split(".");

export default recipe({
  params: v.object({
    folder: v.optional(
      v.pipe(v.string(), v.description("the package; absolute, on the runner")),
      join(import.meta.dirname, "example"),
    ),
    versions: v.optional(v.pipe(v.array(v.string()), v.minLength(1)), ["22", "24", "26"]),
    installed: v.optional(
      v.pipe(
        v.record(v.string(), v.string()),
        v.description("folders with the programs of versions that the runner has; others need a container engine"),
      ),
      { [major]: dirname(process.execPath) },
    ),
    probe: v.optional(
      v.pipe(v.string(), v.description("exits 0 where there is a container engine")),
      "docker version || podman --remote version",
    ),
  }),
  jobs: ({ folder, versions, installed, probe }) => {
    const engine = job({
      run: async ({ $ }) => (await $(["sh", "-c", probe]).quiet().nothrow()).code === 0,
    });

    /** On that version, in a copy of the package: what one version builds, the others do not see. */
    const npm = (version: string, ...scripts: readonly string[]) => {
      const isInstalled = installed[version] !== undefined;
      const programs = installed[version] ?? "/usr/local/bin";
      const source = isInstalled ? folder : "/package";
      return job({
        ...(isInstalled ? {} : { container: { image: `node:${version}`, mounts: { [source]: folder } } }),
        needs: [engine],
        if: ({ needs: [{ output: hasEngine }] }) => isInstalled || hasEngine,
        timeout: "15m",
        run: [
          sh`cp -R ${source}/. .`,
          sh`PATH=${programs}:"$PATH"; node --version && npm ci --no-audit --no-fund`,
          ...scripts.map((script) => sh`PATH=${programs}:"$PATH"; npm run ${script} --if-present`),
        ],
      });
    };

    const lint = npm(versions.find((version) => version in installed) ?? (versions[0] as string), "lint");
    const test = matrix({ node: versions }, ({ node }) => npm(node, "build", "test"));

    const summary = job({
      always: true,
      needs: [lint, test],
      run({ needs: [linted, tested], log }) {
        log("lint".padEnd(12), linted.outcome);
        for (const [cell, { outcome, durationMs }] of Object.entries(tested))
          log(cell.padEnd(12), outcome, outcome === "skipped" ? "" : `in ${(durationMs / 1_000).toFixed(1)} s`);
      },
    });

    return { engine, lint, test, summary };
  },
});
