/** Monorepo: builds and tests the packages of an npm workspace in the order of their dependencies, or only what changed. */
import { join } from "node:path";
import { type Job, job, recipe, sh } from "sortie";
import * as v from "valibot";

const Dependencies = v.optional(v.record(v.string(), v.string()), {});
const Package = v.object({
  name: v.string(),
  location: v.string(),
  dependencies: Dependencies,
  devDependencies: Dependencies,
});
type Package = v.InferOutput<typeof Package>;

export default recipe({
  params: v.object({
    root: v.optional(
      v.pipe(v.string(), v.description("of the workspace; absolute, on the runner")),
      join(import.meta.dirname, "example"),
    ),
    since: v.optional(v.pipe(v.string(), v.description("a git ref: only packages that changed since then"))),
  }),
  jobs: ({ root, since }) => {
    const install = job({ cwd: root, timeout: "10m", run: sh`npm ci --no-audit --no-fund` });

    const packages = job({
      needs: [install],
      cwd: root,
      async run({ $, log }) {
        const all = inOrder(await $`npm query .workspace`.json(v.array(Package)));
        if (since === undefined) return jobsOf(root, all, all);
        const changed = await $`git diff --relative --name-only --end-of-options ${since} -- .`.text();
        const added = await $`git ls-files --others --exclude-standard`.text();
        const concerned = concernedBy(`${changed}\n${added}`.split("\n").filter(Boolean), all);
        log(`changed since ${since}: ${concerned.map(({ name }) => name).join(", ") || "nothing"}`);
        return jobsOf(root, all, concerned);
      },
    });

    return { install, packages };
  },
});

const needsOf = ({ dependencies, devDependencies }: Package, all: readonly Package[]): Package[] =>
  all.filter(({ name }) => Object.hasOwn(dependencies, name) || Object.hasOwn(devDependencies, name));

/** What is needed comes first. */
function inOrder(all: readonly Package[]): Package[] {
  const sorted: Package[] = [];
  while (sorted.length < all.length) {
    const left = all.filter((one) => !sorted.includes(one));
    const ready = left.filter((one) => needsOf(one, left).length === 0);
    if (ready.length === 0) throw new Error(`Packages need each other: ${left.map(({ name }) => name).join(", ")}.`);
    sorted.push(...ready);
  }
  return sorted;
}

/** Packages with such a file, and those that need them; all, where a file is of none. `all` is in order. */
function concernedBy(files: readonly string[], all: readonly Package[]): Package[] {
  const isIn = (file: string, { location }: Package): boolean => file.startsWith(`${location}/`);
  if (files.some((file) => !all.some((one) => isIn(file, one)))) return [...all];
  const concerned: Package[] = [];
  for (const one of all)
    if (files.some((file) => isIn(file, one)) || needsOf(one, concerned).length > 0) concerned.push(one);
  return concerned;
}

/** A build and a test for each of `wanted`, and a build of what these need. */
function jobsOf(root: string, all: readonly Package[], wanted: readonly Package[]): Record<string, Job> {
  const jobs: Record<string, Job> = {};
  const builds = new Map<Package, Job>();
  const nameOf = ({ name }: Package): string => name.replace(/^@/, "").replace(/[^\w.-]/g, "-");
  const buildOf = (one: Package): Job => {
    const known = builds.get(one);
    if (known) return known;
    const needs = needsOf(one, all).map(buildOf);
    const build = job({ needs, cwd: join(root, one.location), run: sh`npm run build --if-present` });
    builds.set(one, build);
    jobs[`build:${nameOf(one)}`] = build;
    return build;
  };
  for (const one of wanted)
    jobs[`test:${nameOf(one)}`] = job({
      needs: [buildOf(one)],
      cwd: join(root, one.location),
      run: sh`npm run test --if-present`,
    });
  return jobs;
}
