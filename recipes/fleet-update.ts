/** Fleet update: runs a command on every host, some at a time, and reports how each is: uptime, disk, pending updates. */
import { type Job, job, recipe } from "sortie";
import * as v from "valibot";

const Status = v.object({
  host: v.string(),
  /** Seconds. */
  uptime: v.number(),
  /** Of the root file system, in percent. */
  disk: v.number(),
  /** Null where nothing is known to tell. */
  updates: v.nullable(v.number()),
});

/** Prints that as JSON, on Linux. */
const status = `
  printf '{"host":"%s","uptime":%s,"disk":%s,"updates":%s}' "$(uname -n)" "$(cut -d. -f1 /proc/uptime)" \
    "$(df -P / | awk 'NR == 2 { print $5 + 0 }')" "$(sh -c "$PENDING")"`;

/** What apt or dnf would install. */
const pendingUpdates = `
  if command -v apt-get >/dev/null; then apt-get -s upgrade 2>/dev/null | grep -c '^Inst'
  elif command -v dnf >/dev/null; then dnf -q check-update 2>/dev/null | grep -c .
  else echo null; fi`;

const names = (description: string) => v.optional(v.pipe(v.array(v.string()), v.description(description)), []);

export default recipe({
  params: v.object({
    hosts: names("reached by ssh"),
    runners: names("by their names; without any host or runner: one that has a slot"),
    atOnce: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.description("how many at a time")), 1),
    update: v.optional(v.pipe(v.string(), v.description("the command that is run first; none: it only reports"))),
    pending: v.optional(
      v.pipe(v.string(), v.description("prints how many updates there are, or null")),
      pendingUpdates.trim(),
    ),
  }),
  jobs: ({ hosts, runners, atOnce, update, pending }) => {
    const places: { readonly name: string; readonly ssh?: string; readonly on?: { readonly runner: string } }[] = [
      ...hosts.map((ssh) => ({ name: ssh, ssh })),
      ...runners.map((runner) => ({ name: runner, on: { runner } })),
    ];
    if (places.length === 0) places.push({ name: "here" });

    const updates: Job<v.InferOutput<typeof Status> | undefined>[] = [];
    const turns: Job[] = [];
    for (const [index, { name: _, ...place }] of places.entries()) {
      // A host's turn is once the one that many before it is over, also where that failed or could not be reached. It is a
      // job of its own: one that runs always is not cancelled with the run, as an update is to be.
      const before = updates[index - atOnce];
      if (before) turns.push(job({ always: true, needs: [before], run: "true" }));
      updates.push(
        job({
          ...place,
          needs: before ? turns.slice(-1) : [],
          allowFailure: true,
          timeout: "30m",
          async run({ $ }) {
            if (update !== undefined) await $(["sh", "-c", update]);
            return await $(["sh", "-c", status]).env({ PENDING: pending }).quiet().json(Status);
          },
        }),
      );
    }

    const report = job({
      always: true,
      needs: updates,
      run({ needs: results, log }) {
        log("name".padEnd(24), "outcome".padEnd(10), "up, days".padStart(8), "disk".padStart(5), "updates".padStart(8));
        for (const [index, { outcome, output }] of results.entries())
          log(
            (places[index]?.name ?? "").padEnd(24),
            outcome.padEnd(10),
            (output ? (output.uptime / 86_400).toFixed(1) : "").padStart(8),
            (output ? `${output.disk}%` : "").padStart(5),
            String(output?.updates ?? "").padStart(8),
          );
        log(`${results.filter(({ outcome }) => outcome === "passed").length} of ${results.length} are well`);
      },
    });

    const nameOf = (index: number): string => (places[index]?.name ?? "").replace(/[^\w.-]/g, "-");
    return {
      ...Object.fromEntries(turns.map((turn, index) => [`turn-${nameOf(index + atOnce)}`, turn])),
      ...Object.fromEntries(updates.map((update, index) => [`update-${nameOf(index)}`, update])),
      report,
    };
  },
});
