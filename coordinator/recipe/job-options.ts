// The options of job(), as recipes write them: job.ts checks them, plan.ts makes of them what is asked of a runner.
import type { ConcurrencyOptions } from "./concurrency.ts";
import type { ConditionContext } from "./function-step.ts";
import type { NotifyOptions } from "./notify.ts";
import type { Argv, Duration, PlaceOptions } from "./place.ts";
import type { RetryOptions } from "./retry.ts";
import type { Secret } from "./secret.ts";
import type { LabelRule } from "./selector.ts";
import type { ShellCommand } from "./shell.ts";
import type { StdinOptions } from "./stdin.ts";
import type { TimeoutOptions } from "./timeout.ts";
import type { Variables } from "./variables.ts";

/** One command of a job that has several. */
export type Step = ShellCommand | Argv;

/** A command, or several of them. */
export type CommandRun = string | ShellCommand | Argv | readonly Step[];

/**
 * What a job is. `job()` knows the parameters by what it is given: what the job needs, what comes of that, what it runs,
 * and what its output is.
 */
export interface OptionsOfJob<Needs, Results extends readonly unknown[], Run, As, Also extends string>
  extends PlaceOptions {
  /**
   * The command: a shell string (run by `/bin/sh -c`), an `sh` template, or argv; or several of them, as steps; or a
   * function that drives the job's runner.
   *
   * A list of strings is always argv. Steps are a list of `sh` templates and argv lists; they run one after the other
   * in the same working directory, and the first that does not exit 0 ends the job.
   *
   * A function runs on the coordinator, and its `$` starts commands on the job's runner, all in the same working
   * directory and in the job's slot. What it gives is the job's output; jobs that it gives join the run, and whatever
   * needs this job waits for them too. docs/function-steps.md has the whole of it.
   * @example run: "npm test | tee log"
   * @example run: ["npm", "test"]
   * @example run: [sh`npm ci`, ["npm", "test"]]
   * @example run: async ({ $ }) => (await $`git rev-parse HEAD`.text())
   */
  readonly run: Run;
  /**
   * Jobs that must pass first, by value: each must be in the recipe too. A matrix stands for all of its jobs. Default: none.
   * @example needs: [build, lint]
   */
  readonly needs?: Needs;
  /**
   * What the job's standard output is, for jobs that need this one: `"text"` (without the newline at its end), `"lines"`,
   * `"json"`, or a schema of that JSON. At most 1 MiB. A function's output is what it gives. Default: none.
   * @example const version = job({ run: "git describe --tags", output: "text" });
   */
  readonly output?: As;
  /**
   * Whether the job runs at all: asked when it could start, with what came of the jobs it needs, and the coordinator's
   * environment. Otherwise it is skipped, with what needs it, and the run may pass. Default: it runs.
   * @example if: ({ env }) => env.CI === "true"
   */
  readonly if?: (context: ConditionContext<Results>) => boolean;
  /**
   * Other places that the job has at the same time, each on a runner of its own choice with slots of its own, for a
   * function that works with several: to pipe from one to another. Default: none.
   * @example also: { source: { on: { db: "production" } } }
   */
  readonly also?: Readonly<Record<Also, PlaceOfJob>>;
  /**
   * The runner it asks for: what each of these labels must be, all of them together, and `runner` for one by its name. A
   * label is to have a value, or one of a list; to be there (`true`) or not (`false`); or what `not`, `any` and `all` say.
   * Runners with a mandatory label are only for jobs that ask for it. Default: any runner.
   * @example on: { os: "linux", gpu: ["a100", "h100"], arch: not("arm64") }
   * @example on: { runner: "w1" }
   */
  readonly on?: Selection;
  /**
   * Variables added to the job's clean environment: texts, and what `secret()` gave. Names that begin with `SORTIE_` are
   * Sortie's own. Default: none.
   * @example env: { NODE_ENV: "test", TOKEN: secret("DEPLOY_TOKEN") }
   */
  readonly env?: Variables;
  /**
   * Secrets that the job has as files of its own, each of mode 0600 and in memory where its machine has a file system in
   * memory: the path of `secret("KEY")` is in the variable `KEY_FILE`. They are gone when the job is over. Default: none.
   * @example secrets: [secret("DEPLOY_TOKEN")]
   */
  readonly secrets?: readonly Secret[];
  /**
   * What the job's command reads, where it has one command: a text of at most 1 MiB, a file of the coordinator's machine, by its
   * path relative to the recipe's folder, or a secret. Default: an empty stdin.
   * @example stdin: "yes\n"
   * @example stdin: secret("PASSPHRASE")
   * @example stdin: { file: "fixtures/input.sql" }
   */
  readonly stdin?: StdinOptions;
  /**
   * Who is told how the job came out. Default: nobody.
   * @example notify: { url: secret("HOOK_URL") }
   * @example notify: { command: ["./tell-the-team"], on: ["passed", "failed"] }
   */
  readonly notify?: NotifyOptions | readonly NotifyOptions[];
  /**
   * Files that the job makes, each under a name: globs relative to the job's directory. They are part of the plan; nothing
   * is moved by it yet. Default: none.
   * @example outputs: { dist: "dist/**", report: ["junit.xml", "coverage/**"] }
   */
  readonly outputs?: Readonly<Record<string, string | readonly string[]>>;
  /**
   * Files that the job depends on, as globs relative to the recipe's folder: `coordinator run --watch` runs the job again
   * when one of them changes. A folder's name stands for what is in it. Default: every file below the recipe's folder.
   * @example inputs: ["src/**", "../package.json"]
   */
  readonly inputs?: readonly string[];
  /**
   * An absolute path where the commands run: on the runner, in the container, on the ssh host. Default: a fresh
   * directory, removed after the job.
   * @example cwd: "/srv/app"
   */
  readonly cwd?: string;
  /**
   * The time all steps have together; then the job is ended and its exit says `timeout`. Or an object, for the time of
   * each step, and for how long the job may wait in the queue. Default: no limits.
   * @example timeout: "10m"
   * @example timeout: { job: "1h", step: "10m", queue: "30m" }
   */
  readonly timeout?: Duration | TimeoutOptions;
  /**
   * A group of which so many jobs run at once, of all runs of this coordinator, in all its processes; by its name, or an
   * object that says more. Default: none.
   * @example concurrency: "deploy"
   * @example concurrency: { group: "preview", when: "cancel-older" }
   */
  readonly concurrency?: string | ConcurrencyOptions;
  /**
   * How long the job goes on when its coordinator is gone: its computer sleeps, or the network is cut. Then it is
   * cancelled, and its exit says `lease`. `"none"`: for ever. Default: the runner's, five minutes.
   * @example lease: "1h"
   */
  readonly lease?: Duration | "none";
  /**
   * From TERM to KILL when the job is cancelled or its time is up; at most ten minutes. Default: 5 seconds.
   * @example grace: "30s"
   */
  readonly grace?: Duration;
  /**
   * How often the job is tried again when it fails, or an object that says more. An attempt that the infrastructure lost
   * is not a failure: that is tried again by itself, three times in all. Default: 0.
   * @example retry: 2
   * @example retry: { count: 5, backoff: "10s", on: { codes: [75], reasons: ["timeout"] } }
   */
  readonly retry?: number | RetryOptions;
  /**
   * Whether the run may pass although this job fails; what needs it goes on then. A job that the infrastructure lost did not
   * fail, and is not allowed for. Default: false.
   * @example allowFailure: true
   */
  readonly allowFailure?: boolean;
  /**
   * Whether the job runs once all that it needs is over, however that came out, also when the run is cancelled: to clean
   * up. Only a second Ctrl-C keeps it from running. Default: false.
   * @example const stop = job({ always: true, needs: [start, test], run: "./stop-servers" });
   */
  readonly always?: boolean;
  /**
   * Among jobs that are ready those with a higher number start first; among equals the one that waits longest. Default: 0.
   * @example priority: 10
   */
  readonly priority?: number;
  /**
   * How many of its runner's slots the job takes; only runners that have as many can be given it. Default: 1.
   * @example slots: 4
   */
  readonly slots?: number;
}

/** Another place of a job: where it is, and with what. */
export interface PlaceOfJob extends PlaceOptions {
  readonly on?: Selection;
  readonly env?: Variables;
  readonly secrets?: readonly Secret[];
  readonly cwd?: string;
  readonly slots?: number;
}

/** What a job asks of its runner: a name, and rules for labels. */
export interface Selection {
  readonly runner?: string;
  readonly [label: string]: LabelRule | undefined;
}
