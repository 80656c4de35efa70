/** Release: builds a git repository, asks for its version to be typed, and tags what was built. */
import { job, recipe } from "sortie";
import * as v from "valibot";

const params = v.object({
  repository: v.optional(
    v.pipe(v.string(), v.description("what git clones: an absolute path or a URL")),
    process.cwd(),
  ),
  build: v.optional(v.pipe(v.string(), v.description("run in a fresh clone")), "npm ci"),
});

export default recipe({
  params,
  jobs: ({ repository, build }) => ({
    release: job({
      async run({ $, ask, log }) {
        await $`git clone --quiet ${repository} .`;
        const { version } = await $`cat package.json`.json(v.object({ version: v.string() }));
        const tag = `v${version}`;
        if ((await $`git tag --list ${tag}`.text()) !== "") throw new Error(`${tag} is there already`);
        await $(["sh", "-c", build]);

        const commit = await $`git log -1 --format=${"%h %s"}`.text();
        log(`built ${commit}`);
        await ask(`Type ${version} to release it`, { schema: v.literal(version, `Only ${version} releases it.`) });

        await $`git tag ${tag}`;
        await $`git push --quiet origin ${tag}`;
        log(`released ${tag}`);
        return { tag, commit };
      },
    }),
  }),
});
