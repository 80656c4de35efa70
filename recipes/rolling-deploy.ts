/** Rolling deploy: batch by batch, each host healthy before the next; otherwise rolls back those that were touched. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { job, recipe } from "sortie";
import * as v from "valibot";

const shell = (description: string, command: string) =>
  v.optional(v.pipe(v.string(), v.description(`${description}, with $HOST and $VERSION`)), command);

const params = v.object({
  hosts: v.optional(v.pipe(v.array(v.string()), v.description("HOST:PORT of each; default: three stand-ins")), []),
  version: v.optional(v.string(), "1.0.0"),
  batch: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.description("hosts at a time")), 1),
  deploy: shell("deploys to a host", 'echo "deploying $VERSION to $HOST"'),
  rollback: shell("undoes that", 'echo "rolling back $HOST"'),
  health: v.optional(v.pipe(v.string(), v.description("answers 2xx on a healthy host")), "/health"),
  seconds: v.optional(v.pipe(v.number(), v.description("a host has to become healthy")), 10),
});

export default recipe({
  params,
  jobs({ hosts, version, batch, deploy, rollback, health, seconds }) {
    /** Hosts that are not as they were, whatever became of the job. */
    const touched = new Set<string>();

    const roll = job({
      concurrency: "rolling-deploy",
      async run({ $, log, signal }) {
        await using standIns = await startStandIns(hosts.length > 0 ? 0 : 3);
        const all = [...hosts, ...standIns.hosts];
        for (let first = 0; first < all.length; first += batch) {
          const some = all.slice(first, first + batch);
          for (const host of some) touched.add(host);
          await Promise.all(
            some.map(async (host) => {
              await $(["sh", "-c", deploy]).env({ HOST: host, VERSION: version });
              await becomesHealthy(
                `http://${host}${health}`,
                AbortSignal.any([signal, AbortSignal.timeout(seconds * 1_000)]),
              );
            }),
          );
          log(`${first + some.length} of ${all.length} hosts run ${version}`);
        }
      },
    });

    // A job of its own that always runs: one that was cancelled starts no more commands.
    const back = job({
      needs: [roll],
      concurrency: "rolling-deploy",
      always: true,
      if: ({ needs: [rolled] }) => rolled.outcome !== "passed",
      async run({ $ }) {
        const undone = [...touched]
          .toReversed()
          .map((host) => $(["sh", "-c", rollback]).env({ HOST: host, VERSION: version }));
        await Promise.all(undone);
      },
    });

    return { roll, back };
  },
});

async function becomesHealthy(url: string, signal: AbortSignal): Promise<void> {
  for (let seen = "no answer"; ; ) {
    try {
      const { ok, status } = await fetch(url, { signal });
      if (ok) return;
      seen = `status ${status}`;
    } catch (error) {
      if (!signal.aborted) seen = String((error as Error).cause ?? error);
    }
    await delay(200, undefined, { signal }).catch(() => {});
    if (signal.aborted) throw new Error(`${url} did not become healthy: ${seen}`);
  }
}

/** Hosts that are healthy at once, so that the recipe runs as it stands. */
async function startStandIns(count: number) {
  const servers = Array.from({ length: count }, () => createServer((_, response) => response.end("ok")));
  await Promise.all(servers.map((server) => new Promise<void>((done) => server.listen(0, "127.0.0.1", done))));
  return {
    hosts: servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`),
    async [Symbol.asyncDispose]() {
      for (const server of servers) server.close().closeAllConnections();
    },
  };
}
