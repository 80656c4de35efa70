// What a front has to say to the audit, told to a keeper in this process.
import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Handlers } from "../../protocol/call.ts";
import { openFrontAudit } from "../../runner/audit.ts";
import type { KeeperLink } from "../../runner/keeper/keeper-link.ts";
import { dial } from "./calls.ts";

it("tells also what comes while the answer to what came before is on its way, however far that is", async () => {
  for (let steps = 0; steps < 50; steps++) {
    const heard: unknown[] = [];
    const first = Promise.withResolvers<void>();
    const handlers: Handlers = {
      async "/keeper/audit"({ events }) {
        heard.push(...events);
        first.resolve();
        return {};
      },
    };
    const keeper: KeeperLink = {
      open: async () => dial({ handlers }, "front"),
      close: async () => {},
      kill: () => true,
    };
    const audit = openFrontAudit(keeper, () => {});
    audit.stranger("one", "192.0.2.1");
    await first.promise;
    for (let step = 0; step < steps; step++) await null;
    audit.stranger("two", "192.0.2.1");
    // In memory all of it is over within a turn of the loop.
    for (let turns = 0; turns < 5; turns++) await turn();
    expect([steps, heard]).toMatchObject([steps, [{ peer: "one" }, { peer: "two" }]]);
    await audit.close();
  }
});
