// A live tree for a terminal, on listr2: the jobs that run, what failed, and one line for the rest. Drawing is
// listr2's; here is only what each line says, refreshed a few times a second however much the jobs write.
import type { Listr, ListrTaskWrapper } from "listr2";
import { describeExit } from "../../protocol/exit.ts";
import type { EventReader, JobOutcome, RunEvent } from "../events.ts";
import { duration, oneLine, outcomeMark, paintFor, safeLine, writeTo } from "./format.ts";
import { type LineCutter, lineCutter } from "./lines.ts";
import { summaryOf } from "./summary.ts";

const REFRESH_MS = 100;
/** Lines of the tree: as many running jobs are shown, and one line says how many more there are. */
const MOST_ROWS = 16;
const TAIL_LINES = 20;

interface Row {
  readonly job: string;
  readonly startedAt: number;
  runner: string;
  step: string;
  last: string;
  tail: string[];
  readonly cutters: { readonly stdout: LineCutter; readonly stderr: LineCutter };
}

export async function liveView(out: NodeJS.WriteStream): Promise<EventReader> {
  const { Listr } = await import("listr2");
  const paint = paintFor(out);
  const rows = new Map<string, Row>();
  const counts = new Map<JobOutcome, number>();
  const failures: { job: string; why: string; tail: readonly string[] }[] = [];
  const ended: string[] = [];
  let total = 0;
  let run = "";
  let finish: (() => void) | undefined;
  let tree: Listr | undefined;
  let drawn: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  function body(): string {
    const lines: string[] = [];
    const width = Math.max(20, (out.columns ?? 80) - 6);
    const shown = [...rows.values()].slice(0, Math.min(MOST_ROWS, Math.max(3, (out.rows ?? 24) - 6)));
    for (const row of shown) {
      const head = `${row.job} ${duration(Date.now() - row.startedAt)}${row.step} on ${row.runner}`;
      const room = width - head.length - 3;
      lines.push(
        `${head}${room > 8 && row.last ? paint("dim", ` │ ${row.last.slice(0, room)}`) : ""}`.slice(0, width + 20),
      );
    }
    if (rows.size > shown.length) lines.push(paint("dim", `and ${rows.size - shown.length} more running`));
    return lines.join("\n");
  }

  function title(): string {
    const finished = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const parts = [...counts].map(([outcome, count]) => `${count} ${outcome}`);
    const waiting = total - finished - rows.size;
    return `run ${run}: ${[...parts, `${rows.size} running`, ...(waiting > 0 ? [`${waiting} waiting`] : [])].join(", ")}`;
  }

  function start(): void {
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let task: ListrTaskWrapper<unknown, never, never> | undefined;
    tree = new Listr(
      [
        {
          title: title(),
          task: (_context, wrapper) => {
            task = wrapper as never;
            return over;
          },
          rendererOptions: { outputBar: MOST_ROWS + 1, persistentOutput: false },
        },
      ],
      {
        renderer: "default",
        concurrent: true,
        registerSignalListeners: false,
        rendererOptions: { lazy: false, collapseSubtasks: false, formatOutput: "truncate" },
      },
    ) as unknown as Listr;
    drawn = tree.run().catch(() => {});
    timer = setInterval(() => {
      if (!task) return;
      (task as { title: string }).title = title();
      (task as { output: string }).output = body();
    }, REFRESH_MS);
  }

  return {
    on(event: RunEvent) {
      switch (event.type) {
        case "run-started":
          run = event.run;
          total = event.jobs.length;
          return start();
        case "runner-unreachable":
          ended.push(paint("yellow", `runner ${oneLine(event.runner)}: ${oneLine(event.message)}`));
          return;
        case "job-started":
          rows.set(event.job, {
            job: event.job,
            startedAt: event.at,
            runner: oneLine(event.runner),
            step: "",
            last: "",
            tail: [],
            cutters: { stdout: lineCutter(), stderr: lineCutter() },
          });
          return;
        case "job-step": {
          const row = rows.get(event.job);
          if (row) row.step = ` step ${event.index + 1}/${event.of}`;
          return;
        }
        case "job-output": {
          const row = rows.get(event.job);
          if (!row) return;
          // Only the end of a flood can be seen, so only that is looked at.
          const lines = row.cutters[event.stream].push(event.bytes).slice(-TAIL_LINES);
          row.tail.push(...lines.map((line) => safeLine(line, false)));
          if (row.tail.length > TAIL_LINES) row.tail = row.tail.slice(-TAIL_LINES);
          row.last = row.tail.findLast((line) => line.trim() !== "") ?? "";
          return;
        }
        case "job-ended": {
          const row = rows.get(event.job);
          rows.delete(event.job);
          counts.set(event.outcome, (counts.get(event.outcome) ?? 0) + 1);
          if (event.outcome !== "failed" && event.outcome !== "lost") return;
          const why = event.message ?? (event.exit ? describeExit(event.exit) : event.outcome);
          const rests = row
            ? [row.cutters.stdout.rest(), row.cutters.stderr.rest()].filter((rest) => rest !== undefined)
            : [];
          failures.push({
            job: event.job,
            why: oneLine(why),
            tail: [...(row?.tail ?? []), ...rests.map((rest) => safeLine(rest, false))],
          });
          return;
        }
        case "run-cancelling":
          ended.push(paint("yellow", oneLine(event.message)));
          return;
        case "run-ended":
          return end(event);
      }
    },
    async close() {
      clearInterval(timer);
      finish?.();
      await drawn;
    },
  };

  async function end(event: RunEvent & { type: "run-ended" }): Promise<void> {
    clearInterval(timer);
    finish?.();
    await drawn;
    const text = [
      ...ended,
      ...failures
        .slice(0, MOST_ROWS)
        .flatMap(({ job, why, tail }) => [
          paint("red", `${outcomeMark.failed} ${job}: ${why}`),
          ...tail.map((line) => paint("dim", `  │ ${line}`)),
        ]),
      summaryOf(
        event,
        counts,
        failures.map(({ job }) => job),
        run,
        paint,
      ),
    ];
    await writeTo(out, `${text.join("\n")}\n`);
  }
}
