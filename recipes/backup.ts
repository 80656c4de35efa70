/**
 * Backup: packs a folder with its checksum, and keeps the last few.
 * Every night by cron:
 * `0 3 * * * cd PROJECT && npx coordinator run recipes/backup.ts --set folder=/srv/data --set to=/backup`
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { job, recipe } from "sortie";
import * as v from "valibot";

const params = v.object({
  folder: v.optional(v.pipe(v.string(), v.description("what is packed")), import.meta.dirname),
  to: v.optional(
    v.pipe(v.string(), v.description("where it is kept, outside of that folder")),
    join(tmpdir(), "backups"),
  ),
  keep: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.description("how many are kept")), 7),
});

export default recipe({
  params,
  jobs: ({ folder, to, keep }) => ({
    backup: job({
      timeout: "6h",
      concurrency: "backup",
      async run({ $, log }) {
        // By its name the latest is the last.
        const name = `backup-${new Date().toISOString().replaceAll(":", "-")}.tar.gz`;
        const partial = `${name}.partial`;
        await $`mkdir -p ${to}`;
        // What a backup that broke off left is no backup.
        await $`rm -f backup-*.partial`.cwd(to);
        await $`tar -C ${folder} -czf ${partial} . && tar -tzf ${partial} > /dev/null`.cwd(to);
        await $`mv ${partial} ${name} && sha256sum ${name} > ${`${name}.sha256`}`.cwd(to);

        const names = (await $`ls`.cwd(to).text()).split("\n").filter((one) => /^backup-[\dTZ.-]+\.tar\.gz$/.test(one));
        const old = names.sort().slice(0, -keep);
        for (const one of old) await $`rm -f ${one} ${`${one}.sha256`}`.cwd(to);
        log(`${name} is there; ${old.length} removed, ${names.length - old.length} kept`);
        return { file: join(to, name) };
      },
    }),
  }),
});
