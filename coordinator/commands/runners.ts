// `coordinator runners`: who is known, and what each says of itself.
import type { Argv } from "yargs";
import { jsonLine } from "../../protocol/text.ts";
import { openFleet } from "../fleet.ts";
import { describeLabels } from "../selectors.ts";
import { oneLine, table } from "../views/format.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("json", { type: "boolean", default: false, describe: "Print JSON" })
    .example("$0 runners", "names, labels, slots, and how far away each is");

export async function handler({ json }: { json: boolean }): Promise<void> {
  const fleet = openFleet();
  try {
    const reached = await fleet.reachAll();
    const rows = reached.map((one) =>
      "runner" in one
        ? {
            name: one.pin.name,
            peer: one.pin.peer,
            state: one.runner.info.draining ? "draining" : "up",
            labels: one.runner.info.labels,
            ...(one.runner.info.mandatory ? { mandatory: one.runner.info.mandatory } : {}),
            slots: one.runner.info.slots,
            busy: one.runner.info.busy,
            roundTripMs: Math.round(one.runner.roundTripMs * 10) / 10,
          }
        : {
            name: one.pin.name,
            peer: one.pin.peer,
            state: "unreachable",
            error: `${one.error.message} ${one.error.hint}`,
          },
    );
    if (json) process.stdout.write(`${jsonLine(rows)}\n`);
    else if (rows.length === 0)
      process.stdout.write("No runner is known. `runner start` on a machine prints the command that adds it.\n");
    else {
      const lines = rows.map((row) =>
        "error" in row
          ? [row.name, row.peer, row.state, "", "", "", oneLine(row.error ?? "")]
          : [
              row.name,
              row.peer,
              row.state,
              String(row.slots),
              String(row.busy),
              `${row.roundTripMs} ms`,
              describeLabels(row),
            ],
      );
      process.stdout.write(
        `${table([["NAME", "PEER ID", "STATE", "SLOTS", "BUSY", "ROUND TRIP", "LABELS"], ...lines])}\n`,
      );
    }
  } finally {
    await fleet.close();
  }
}
