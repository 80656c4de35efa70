/** Database dump: copies a SQLite database from one machine to another through a pipe; needs sqlite3 on both. */
import { job, recipe } from "sortie";
import * as v from "valibot";

const params = v.object({
  source: v.optional(v.pipe(v.string(), v.description("the runner that has the database; default: any"))),
  target: v.optional(v.pipe(v.string(), v.description("the runner that gets the copy; default: any"))),
  database: v.optional(v.pipe(v.string(), v.description("an absolute path there; default: a small example"))),
  copy: v.optional(v.pipe(v.string(), v.description("an absolute path here")), "copy.db"),
});

const example = "CREATE TABLE visits (page TEXT, count INTEGER); INSERT INTO visits VALUES ('home', 3), ('about', 1);";

export default recipe({
  params,
  jobs: ({ source, target, database, copy }) => ({
    dump: job({
      ...(target ? { on: { runner: target } } : {}),
      also: { source: source ? { on: { runner: source } } : {} },
      async run({ $, also, log }) {
        const original = database ?? "example.db";
        if (!database) await also.source`sqlite3 example.db ${example}`;
        // Of a damaged database .dump gives a part, and exits 0.
        const state = await also.source`sqlite3 -readonly ${original} ${"PRAGMA quick_check(1)"}`.text();
        if (state !== "ok") throw new Error(`${original} is damaged: ${state}`);

        const fresh = `${copy}.new`;
        await $`rm -f ${fresh}`;
        try {
          // Throws where either side fails, so half a dump never replaces the copy.
          await also.source`sqlite3 -readonly ${original} .dump`.pipe($`sqlite3 -bail ${fresh}`);
          await $`mv ${fresh} ${copy}`;
        } finally {
          await $`rm -f ${fresh}`;
        }
        const tables = Number(
          await $`sqlite3 ${copy} ${"SELECT count(*) FROM sqlite_schema WHERE type = 'table'"}`.text(),
        );
        log(`${copy} has ${tables} table(s)`);
        return { tables };
      },
    }),
  }),
});
