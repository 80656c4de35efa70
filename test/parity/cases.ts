// What a job may rely on wherever it runs, one case a promise: each gives what it saw, which is compared with what is
// promised. Where a backend cannot keep a promise, the case says what it does instead, and that is compared.
import { createHash } from "node:crypto";
import { PassThrough } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { exitCodeOf } from "../../protocol/exit.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { isOfThisNamespace, processesOf } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import type { Outcome, Place } from "./place.ts";

export type BackendName = "local" | "container" | "ssh";

export interface Case {
  readonly title: string;
  readonly run: (place: Place) => Promise<unknown>;
  readonly promised: unknown;
  /** Hundreds of jobs, or of megabytes: once for each backend. Other kinds of engine and login have nothing, or this, instead. */
  readonly thorough?: true | Case;
  /** What it is instead, and how the table says so. */
  readonly but?: Partial<Record<BackendName, { readonly says: string; readonly seen: unknown }>>;
}

const MiB = 1024 * 1024;
/** Of an input. */
const BLOCK = 64 * 1024;
const SIGNALS = [
  "HUP",
  "INT",
  "QUIT",
  "ILL",
  "ABRT",
  "FPE",
  "KILL",
  "SEGV",
  "PIPE",
  "ALRM",
  "TERM",
  "USR1",
  "USR2",
] as const;
const ASCII = Array.from({ length: 127 }, (_, code) => String.fromCharCode(code + 1)).join("");
const NASTY = [
  "",
  " ",
  ASCII,
  "'",
  '"',
  "$(id)",
  "`id`",
  "a\nb",
  "a\n\n",
  "😀 é",
  "-n",
  "--",
  "\\",
  "\\n",
  "\\0101",
  "%s",
  "*",
  "~",
  "x=y",
  "#",
];

const how = ({ exit }: Outcome) => [
  exit.reason,
  "code" in exit ? exit.code : null,
  "signal" in exit ? exit.signal : null,
];
/** Seconds that no other process sleeps: the cases run in several files, at the same time. */
const only = (seconds: number): string => `${seconds}.${String(process.pid).padStart(7, "0")}`;
const gone = (marker: string) =>
  until(
    () => processesOf(marker).length,
    (count) => count === 0,
  );
const there = (marker: string) =>
  until(
    () => processesOf(marker).length,
    (count) => count > 0,
  );

/** So many at a time as the place serves soonest. */
async function each<T, R>(
  { atOnce }: Pick<Place, "atOnce">,
  list: readonly T[],
  run: (one: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < list.length) {
        const at = next++;
        results[at] = await run(list[at] as T);
      }
    }),
  );
  return results;
}

/** SHA-256 of the text, again and again in blocks. */
function repeated(text: string, bytes: number, blockBytes = MiB): string {
  const hash = createHash("sha256");
  const block = Buffer.alloc(blockBytes, text);
  for (let at = 0; at < bytes; at += block.length) hash.update(block);
  return hash.digest("hex");
}

async function* blocks(text: string, bytes: number): AsyncIterable<Uint8Array> {
  const block = Buffer.alloc(BLOCK, text);
  for (let at = 0; at < bytes; at += block.length) yield block;
}

const longStdin = (mebibytes: number): Case => ({
  title: `${mebibytes} MiB of stdin, whole`,
  run: async (place) => (await place.run(["sha256sum"], { input: blocks("stdin and more", mebibytes * MiB) })).stdout,
  promised: `${repeated("stdin and more", mebibytes * MiB, BLOCK)}  -\n`,
});

const longOutputs = (mebibytes: number): Case => ({
  title: `${mebibytes} MiB on each output at once, whole`,
  run: async (place) => {
    const all = `head -c ${mebibytes * MiB} /dev/zero | tr '\\0'`;
    const { exit, bytes, sha } = await place.run(`${all} o & ${all} e >&2; wait`);
    return [exit.reason, bytes, sha];
  },
  promised: [
    "exited",
    { stdout: mebibytes * MiB, stderr: mebibytes * MiB },
    { stdout: repeated("o", mebibytes * MiB), stderr: repeated("e", mebibytes * MiB) },
  ],
});

/** What cancelled it, how it came out, and that nothing of it is left. */
const cancelled = ({ exit }: Outcome) => [exit.reason, exit.reason === "cancelled" && exit.by];

const isAmbiguous = (code: number): boolean => code > 128 && code <= 128 + 31;

export const cases: readonly Case[] = [
  {
    title: "an exit code: 0, 1, 2, 125, 126, 127, 128, 255",
    run: async (place) =>
      each(place, [0, 1, 2, 125, 126, 127, 128, 255], async (code) => how(await place.run(`exit ${code}`))),
    promised: [0, 1, 2, 125, 126, 127, 128, 255].map((code) => ["exited", code, null]),
  },
  {
    title: "every exit code, 0 to 255",
    thorough: true,
    run: async (place) =>
      each(
        place,
        Array.from({ length: 256 }, (_, code) => code),
        async (code) => {
          const { exit } = await place.run(`exit ${code}`);
          return [exitCodeOf(exit), exit.reason, ...(exit.reason === "exited" && exit.ambiguous ? ["ambiguous"] : [])];
        },
      ),
    promised: Array.from({ length: 256 }, (_, code) => [code, "exited"]),
    but: {
      container: {
        says: "the code; 129 to 159 marked as maybe a signal",
        seen: Array.from({ length: 256 }, (_, code) => [code, "exited", ...(isAmbiguous(code) ? ["ambiguous"] : [])]),
      },
    },
  },
  {
    title: "a signal that ends it (13 of them)",
    run: async (place) =>
      each(place, SIGNALS, async (signal) =>
        how(await place.run(`(sleep 0.2; kill -${signal} $$) & exec sleep ${only(4974)}`)),
      ),
    promised: SIGNALS.map((signal) => ["signaled", null, signal]),
    but: {
      container: {
        says: "as exit 128+n, marked as maybe a signal: the engine tells no more",
        seen: [1, 2, 3, 4, 6, 8, 9, 11, 13, 14, 15, 10, 12].map((number) => ["exited", 128 + number, null]),
      },
    },
  },
  {
    title: "a missing command: never started, 127, said on stderr",
    run: async (place) => {
      const outcome = await place.run(["no-such-command", "x"]);
      return [...how(outcome), outcome.stderr.replace(" in the image", "")];
    },
    promised: ["failed-to-start", 127, null, "sortie: no-such-command: command not found\n"],
  },
  {
    title: "a missing path: never started, 127",
    run: async (place) => how(await place.run(["/no/such/command"])),
    promised: ["failed-to-start", 127, null],
  },
  {
    title: "a file that cannot be executed, and a directory: never started, 126",
    run: async (place) => [
      how(await place.run([{ shell: "echo text > plain; chmod 644 plain" }, { argv: ["./plain"] }])),
      how(await place.run([{ shell: "mkdir folder" }, { argv: ["./folder"] }])),
    ],
    promised: [
      ["failed-to-start", 126, null],
      ["failed-to-start", 126, null],
    ],
  },
  {
    title: "a working directory that is missing: never started, said which",
    run: async (place) => {
      const { exit } = await place.run("pwd", { cwd: "/no/such/folder" });
      return exit.reason === "failed-to-start" ? [exit.stage, exit.message.includes("/no/such/folder")] : exit.reason;
    },
    promised: ["workdir", true],
    but: { container: { says: "made by the engine, empty", seen: "exited" } },
  },
  {
    title: "a fresh, empty working directory, shared by its steps",
    run: async (place) => {
      const outcome = await place.run([
        { shell: "ls -A | wc -l; pwd > where; echo one > file" },
        { shell: '[ "$(pwd)" = "$(cat where)" ] && cat file' },
        { argv: ["sh", "-c", "exit 7"] },
        { shell: "echo never" },
      ]);
      return [...how(outcome), outcome.stdout.trim().split(/\s+/), outcome.exit.step];
    },
    promised: ["exited", 7, null, ["0", "one"], 2],
  },
  {
    title: "stdin of no byte, and of one",
    run: async (place) => [
      (await place.run(["wc", "-c"], { input: Buffer.alloc(0) })).stdout.trim(),
      (await place.run(["wc", "-c"], { input: Buffer.from("x") })).stdout.trim(),
      (await place.run(["wc", "-c"])).stdout.trim(),
    ],
    promised: ["0", "1", "0"],
  },
  { ...longStdin(256), thorough: longStdin(64) },
  {
    title: "stdin that it closes at once, or never reads",
    run: async (place) => [
      how(await place.run("exec <&-; sleep 0.2; exit 3", { input: blocks("x", 16 * MiB) })),
      how(await place.run("sleep 0.2; exit 4", { input: blocks("x", 16 * MiB) })),
    ],
    promised: [
      ["exited", 3, null],
      ["exited", 4, null],
    ],
  },
  {
    title: "an end while stdin is still being written",
    run: async (place) => {
      const outcome = await place.run(["head", "-c", "3"], { input: blocks("x", 64 * MiB) });
      return [...how(outcome), outcome.stdout];
    },
    promised: ["exited", 0, null, "xxx"],
  },
  { ...longOutputs(256), thorough: longOutputs(64) },
  {
    title: "alternating one-byte writes to both outputs, each in its order",
    run: async (place) => {
      const outcome = await place.run(
        "i=0; while [ $i -lt 1000 ]; do printf $((i%10)); printf $((i%7)) >&2; i=$((i+1)); done",
      );
      return [outcome.stdout, outcome.stderr];
    },
    promised: [
      Array.from({ length: 1_000 }, (_, index) => index % 10).join(""),
      Array.from({ length: 1_000 }, (_, index) => index % 7).join(""),
    ],
  },
  {
    title: "its first and its last bytes (30 times)",
    run: async (place) =>
      new Set(
        (await each(place, Array.from({ length: 30 }), () => place.run("printf first; printf last >&2"))).map(
          ({ exit, stdout, stderr }) => (exit.reason === "exited" ? `${stdout} ${stderr}` : JSON.stringify(exit)),
        ),
      ),
    promised: new Set(["first last"]),
  },
  {
    title: "bytes that are no text",
    run: async (place) =>
      (await place.run(["cat"], { input: Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)) })).sha.stdout,
    promised: createHash("sha256")
      .update(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)))
      .digest("hex"),
  },
  {
    title: "arguments as they are: empty, every ASCII character, newlines, quotes, emoji",
    run: async (place) => (await place.run(["printf", "%s\\0", ...NASTY])).stdout.split("\0").slice(0, -1),
    promised: NASTY,
  },
  {
    title: "an argument of 100,000 characters",
    run: async (place) => (await place.run(["printf", "%s", "x".repeat(100_000)])).bytes.stdout,
    promised: 100_000,
  },
  {
    title: "an argument longer than the kernel takes: never started",
    run: async (place) => {
      const { exit } = await place.run(["true", "x".repeat(200_000)]);
      return "stage" in exit ? [exit.reason, exit.stage] : exit;
    },
    promised: ["failed-to-start", "spawn"],
  },
  {
    title: "values of variables as they are, the same ones",
    run: async (place) => {
      const env = NASTY.map((value, index): [string, string] => [`V${index}`, value]);
      const { stdout } = await place.run(env.map(([name]) => `printf '%s\\0' "$${name}"`).join("; "), { env });
      return stdout.split("\0").slice(0, -1);
    },
    promised: NASTY,
  },
  {
    title: "Sortie's own variables, and none of the runner's",
    run: async (place) => {
      const { stdout } = await place.run('echo "$CI $SORTIE $SORTIE_JOB $SORTIE_ATTEMPT ${SORTIE_PARITY_SECRET-none}"');
      return stdout;
    },
    promised: "true 1 job 1 none\n",
  },
  {
    title: "its secrets, as variables and as files, in steps and in commands of a function; no output has one",
    run: async (place) => {
      const value = `it's "$HOME" \\n of\nseveral lines & 100% of <them>\n`;
      const secrets: JobRequest["secrets"] = [
        { as: "env", name: "TOKEN", variable: "TOKEN", value },
        { as: "file", name: "KEY", value },
      ];
      const script =
        'printf %s "$TOKEN" | sha256sum; sha256sum < $KEY_FILE; cat $KEY_FILE; printf %s "$TOKEN" >&2; echo "$KEY_FILE"';
      const step = await place.run([{ shell: "true" }, { shell: script }], { secrets });
      const driven = await place.drive({ secrets });
      const command = await driven.within.run(script);
      driven.finish(0);
      await driven.outcome;
      const path = command.stdout.trim().split("\n").at(-1);
      // On a host they go with the job's directory, once its exit is told.
      const gone = await until(
        async () => (await place.run(`! test -e ${path}`)).exit.code === 0,
        (isGone) => isGone,
      );
      const hash = createHash("sha256").update(value).digest("hex");
      return [step, command]
        .map(({ stdout, stderr }) => [
          stdout.startsWith(`${hash}  -\n${hash}  -\n***\n/`),
          stderr.trim(),
          ["***", "lines", "several"].filter((word) => `${stdout}${stderr}`.includes(word)),
        ])
        .concat([[gone]]);
    },
    promised: [[true, "***", ["***"]], [true, "***", ["***"]], [true]],
  },
  {
    title: "/dev/stdin, /dev/stdout and /dev/stderr, which can be opened again",
    run: async (place) => {
      const { stdout, stderr, exit } = await place.run("echo a > /dev/stderr; cat /dev/stdin > /dev/stdout", {
        input: Buffer.from("b"),
      });
      return [exit.reason, stdout, stderr];
    },
    promised: ["exited", "b", "a\n"],
  },
  {
    title: "a cancellation while it is being started",
    run: async (place) => {
      const begun = await place.begin(`sleep ${only(4951)}`);
      begun.cancel();
      return [cancelled(await begun.outcome), await gone(`sleep\x00${only(4951)}`)];
    },
    promised: [["cancelled", "user"], 0],
  },
  {
    title: "a cancellation while it runs: TERM to its whole tree, and its last words",
    run: async (place) => {
      const begun = await place.begin(
        `trap 'echo bye; exit 3' TERM; setsid sleep ${only(4952)} & echo up; sleep ${only(4953)} & wait`,
        {
          graceMs: 10_000,
        },
      );
      await begun.said("up\n");
      await there(`sleep\x00${only(4952)}`);
      begun.cancel("run");
      const outcome = await begun.outcome;
      return [
        cancelled(outcome),
        how(outcome)[1],
        outcome.stdout,
        await gone(`sleep\x00${only(4952)}`),
        await gone(`sleep\x00${only(4953)}`),
      ];
    },
    promised: [["cancelled", "run"], 3, "up\nbye\n", 0, 0],
  },
  {
    title: "what ignores TERM is killed after the grace",
    run: async (place) => {
      const begun = await place.begin(
        `trap '' TERM; echo up; setsid sleep ${only(4954)}; while :; do sleep 0.1; done`,
        {
          graceMs: 300,
        },
      );
      await begun.said("up\n");
      await there(`sleep\x00${only(4954)}`);
      begun.cancel();
      const outcome = await begun.outcome;
      return [...how(outcome), await gone(`sleep\x00${only(4954)}`)];
    },
    promised: ["cancelled", null, "KILL", 0],
  },
  {
    title: "the grace, also for what it started",
    run: async (place) => {
      const script = `(trap 'sleep 1.5 && echo saved; exit' TERM; echo up; while :; do sleep 0.05; done) & sleep ${only(4963)}`;
      const begun = await place.begin(script, { graceMs: 10_000 });
      await begun.said("up\n");
      begun.cancel();
      const outcome = await begun.outcome;
      return [cancelled(outcome), outcome.stdout, await gone(`sleep\x00${only(4963)}`)];
    },
    promised: [["cancelled", "user"], "up\nsaved\n", 0],
    but: {
      container: { says: "ends with the command itself", seen: [["cancelled", "user"], "up\n", 0] },
    },
  },
  {
    title: "a cancellation says what it ended, and how",
    run: async (place) => {
      const begun = await place.begin(`sleep ${only(4955)} & (trap '' TERM; echo up; while :; do sleep 0.05; done)`, {
        graceMs: 500,
      });
      await begun.said("up\n");
      // Forked, and no sleep yet, it would be told as another sh.
      await there(`sleep\x00${only(4955)}`);
      begun.cancel();
      const { exit } = await begun.outcome;
      if (exit.reason !== "cancelled" || !exit.ending) return exit;
      const { ended, survivors } = exit.ending;
      return [
        ended.some(({ name, by }) => name === "sleep" && by === "TERM"),
        ended.some(({ by }) => by === "KILL"),
        ended.every(({ pid }) => pid > 1),
        survivors,
      ];
    },
    promised: [true, true, true, []],
  },
  {
    title: "a cancellation while a grandchild holds its outputs",
    run: async (place) => {
      // It writes, so that it is waited for longer than a quiet second.
      const holds = `sh -c ': > holds; while :; do echo; sleep 0.2; done' ${only(4956)}`;
      const begun = await place.begin(
        `${holds} & until [ -e holds ]; do sleep 0.05; done; echo up; exit 5 # ${only(4964)}`,
      );
      await begun.said("up\n");
      // The command itself, which has its script among its arguments; over ssh it has them nowhere else.
      await gone(`# ${only(4964)}`);
      // In a container the engine ends it then, however long that takes.
      if (processesOf(`\x00${only(4956)}`).some(isOfThisNamespace)) begun.cancel();
      const { exit } = await begun.outcome;
      return [...how({ exit } as Outcome).slice(0, 2), await gone(`\x00${only(4956)}`)];
    },
    promised: ["cancelled", 5, 0],
    but: { container: { says: "has ended with the command", seen: ["exited", 5, 0] } },
  },
  {
    title: "a time-out",
    run: async (place) => {
      // It counts from before the start, which in a container can take a loaded machine seconds.
      const began = performance.now();
      const started = await place.begin("echo up");
      await started.said("up\n");
      const timeoutMs = Math.round(1_000 + 4 * (performance.now() - began));
      await started.outcome;
      const { exit, stdout } = await place.run(`echo up; sleep ${only(4957)}`, { timeoutMs });
      return [exit.reason, stdout, await gone(`sleep\x00${only(4957)}`)];
    },
    promised: ["timeout", "up\n", 0],
  },
  {
    title: "a grandchild that holds an output is ended, after the command's own end",
    run: async (place) => {
      const outcome = await place.run(`sleep ${only(4958)} & echo mine; exit 5`);
      return [...how(outcome), outcome.stdout, outcome.exit.heldOpen === true, await gone(`sleep\x00${only(4958)}`)];
    },
    promised: ["exited", 5, null, "mine\n", true, 0],
    but: {
      container: {
        says: "at once, with the container; not told as held open",
        seen: ["exited", 5, null, "mine\n", false, 0],
      },
    },
  },
  {
    title: "a daemon that closed its outputs and left its group is ended",
    run: async (place) => {
      const { exit } = await place.run(`(setsid sleep ${only(4959)} >/dev/null 2>&1 </dev/null &) ; sleep 0.1; exit 0`);
      return [exit.reason, await gone(`sleep\x00${only(4959)}`)];
    },
    promised: ["exited", 0],
  },
  {
    title: "a signal sent to it, to its whole tree",
    run: async (place) => {
      const script =
        "trap 'echo got' USR1; (trap 'echo child' USR1; echo ready; while :; do sleep 0.05; done) & echo up; while :; do sleep 0.05; done";
      const begun = await place.begin(script);
      await begun.said("up\n");
      await begun.said("ready\n");
      begun.signal("USR1");
      await begun.said("got\n");
      await begun.said("child\n");
      begun.signal("KILL");
      return how(await begun.outcome);
    },
    promised: ["signaled", null, "KILL"],
  },
  {
    title: "commands of a function step: one directory, and each its own exit, variables and directory",
    run: async (place) => {
      const job = await place.drive({
        env: [
          ["ONE", "job"],
          ["TWO", "job"],
        ],
      });
      const { run } = job.within;
      const seen = [
        how(await run("pwd > where; mkdir -p a/b; exit 3")),
        (await run("cat where")).stdout === `${job.cwd}\n`,
        (await run('echo "$ONE $TWO"', { env: [["TWO", "command"]] })).stdout,
        (await run('echo "$ONE $TWO"')).stdout,
        (await run("pwd", { cwd: "a/b" })).stdout === `${job.cwd}/a/b\n`,
        (await run("pwd", { cwd: "/tmp" })).stdout,
        how(await run(["no-such-command"])),
        (await run(["cat"], { input: Buffer.from("in") })).stdout,
      ];
      job.finish(7);
      return [...seen, how(await job.outcome)];
    },
    promised: [
      ["exited", 3, null],
      true,
      "job command\n",
      "job job\n",
      true,
      "/tmp\n",
      ["failed-to-start", 127, null],
      "in",
      ["exited", 7, null],
    ],
  },
  {
    title: "fifty commands of a function step, one after the other",
    thorough: true,
    run: async (place) => {
      const job = await place.drive();
      let last = "";
      for (let index = 0; index < 50; index++)
        last = (await job.within.run("echo x >> all; wc -l < all")).stdout.trim();
      job.finish(0);
      return [last, how(await job.outcome)];
    },
    promised: ["50", ["exited", 0, null]],
  },
  {
    title: "a command of a function step that is fed by another one, 64 MiB",
    run: async (place) => {
      const job = await place.drive();
      const pipe = new PassThrough({ highWaterMark: 65_536 });
      const counting = await job.within.begin(["wc", "-c"], { input: pipe });
      const source = await job.within.begin(`head -c ${64 * MiB} /dev/zero`, { pipe });
      const ends = [how(await source.outcome), (await counting.outcome).stdout.trim()];
      job.finish(0);
      return [...ends, how(await job.outcome)];
    },
    promised: [["exited", 0, null], String(64 * MiB), ["exited", 0, null]],
  },
  {
    title: "a cancellation of one command of a function step, and then of all",
    run: async (place) => {
      const job = await place.drive();
      const { begin } = job.within;
      const one = await begin(`setsid sleep ${only(4971)} & echo up; sleep ${only(4971)}`);
      const two = await begin(`setsid sleep ${only(4972)} & echo up; sleep ${only(4972)}`);
      await Promise.all([one.said("up\n"), two.said("up\n")]);
      await there(`sleep\x00${only(4972)}`);
      one.cancel();
      const first = [
        cancelled(await one.outcome),
        await gone(`sleep\x00${only(4971)}`),
        processesOf(`sleep\x00${only(4972)}`).length > 0,
      ];
      job.cancel("run");
      return [first, cancelled(await two.outcome), cancelled(await job.outcome), await gone(`sleep\x00${only(4972)}`)];
    },
    promised: [[["cancelled", "user"], 0, true], ["cancelled", "run"], ["cancelled", "run"], 0],
  },
  {
    title: "what a command of a function step leaves running, until its job ends",
    run: async (place) => {
      const job = await place.drive();
      const input = new PassThrough();
      const begun = await job.within.begin(`(setsid sleep ${only(4973)} >/dev/null 2>&1 </dev/null &) ; cat`, {
        input,
      });
      await there(`sleep\x00${only(4973)}`);
      input.end();
      await begun.outcome;
      await delay(1_000);
      const later = processesOf(`sleep\x00${only(4973)}`).length > 0;
      job.finish(0);
      await job.outcome;
      return [later, await gone(`sleep\x00${only(4973)}`)];
    },
    promised: [true, 0],
    but: { container: { says: "until the command ends", seen: [false, 0] } },
  },
  {
    title: "fifty at once",
    thorough: true,
    run: async (place) =>
      each(
        { atOnce: 50 },
        Array.from({ length: 50 }, (_, index) => index),
        async (index) => {
          const { exit, stdout } = await place.run(`echo ${index}; sleep 0.5; exit ${index}`);
          return [exitCodeOf(exit), stdout];
        },
      ),
    promised: Array.from({ length: 50 }, (_, index) => [index, `${index}\n`]),
  },
];
