// Every error that a person or a peer can be told: a stable code, what to do about it, and the exit code of
// `coordinator` for it. Expected failures are SortieErrors; anything else that is thrown is a bug.

/** Exit codes of the `coordinator` and `runner` commands; `coordinator exec` has its own (see exit.ts). */
export const exitCodes = { passed: 0, failed: 1, usage: 2, infrastructure: 3, interrupted: 130 } as const;
type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

interface ErrorEntry {
  readonly exitCode: ExitCode;
  /** What happened, in general; for the documentation. */
  readonly meaning: string;
  /** What to do; an error may bring a better one of its own. */
  readonly hint: string;
}

const { failed, usage, infrastructure, interrupted } = exitCodes;
const entry = (exitCode: ExitCode, meaning: string, hint: string): ErrorEntry => ({ exitCode, meaning, hint });

export const errorCatalog = {
  USAGE: entry(usage, "The command line is wrong.", "See --help."),
  RECIPE_NOT_FOUND: entry(
    usage,
    "There is no such recipe file.",
    "`coordinator run` without an argument lists the recipes in recipes/.",
  ),
  RECIPE_SYNTAX: entry(usage, "The recipe is not valid TypeScript.", "Correct the line named."),
  RECIPE_THREW: entry(
    usage,
    "The recipe threw an error while it was loaded.",
    "Correct the line named; --debug shows the stack.",
  ),
  RECIPE_INVALID: entry(
    usage,
    "The recipe does not describe jobs: no default export, an unknown option, a wrong value.",
    "Correct the line named; docs/recipes.md lists the options.",
  ),
  RECIPE_PARAMS: entry(
    usage,
    "The params that were given are not what the recipe's schema takes: a key it does not know, or a wrong or missing value.",
    "`coordinator run RECIPE --help` lists them; give them by --set KEY=VALUE or --set-file KEY=PATH.",
  ),
  RECIPE_TYPES: entry(
    usage,
    "The recipe's types are wrong, by its project's own TypeScript.",
    "Correct the line named; docs/recipes.md lists the options.",
  ),
  SANDBOX_DENIED: entry(
    usage,
    "A sandboxed recipe asked for something that it was not told it may have.",
    "Give it the flag that is named, or run the recipe without --sandbox if you trust it with everything.",
  ),
  SANDBOX_FAILED: entry(
    usage,
    "The process of a sandboxed recipe ended, took too long or too much, or said what it may not say.",
    "Correct the recipe: its process does nothing but describe jobs and drive them.",
  ),
  RECIPE_CYCLE: entry(usage, "Jobs need each other in a circle.", "Remove one of the needs named."),
  SECRET_MISSING: entry(
    usage,
    "A secret that the recipe asks for cannot be had: its variable is not set, its file not there, its command failed, or it is empty.",
    "Set the variable where `coordinator` is started, or see why its file or its command gives nothing.",
  ),
  SECRET_INVALID: entry(
    usage,
    "A secret that the recipe asks for is one that cannot be kept out of what jobs print: too short, too long, or no text.",
    "A secret has at least 6 characters and at most 32 KiB of text; what is shorter is no secret: write it into `env`.",
  ),
  SELECTOR_UNKNOWN: entry(
    usage,
    "A job asks for a runner that no known runner can be.",
    "`coordinator runners` shows names and labels.",
  ),
  NOT_FOUND: entry(usage, "No such run, job or runner.", "`coordinator runs` and `coordinator runners` list them."),
  AMBIGUOUS: entry(usage, "The name or prefix fits more than one.", "Give more characters."),
  INVITE_INVALID: entry(
    usage,
    "The invite is not a whole invite URL.",
    "Copy the whole URL that `runner invite` or `coordinator invite` printed, in quotes.",
  ),
  PAIRING_REFUSED: entry(
    infrastructure,
    "The peer refused the invite.",
    "Invites are for one use and ten minutes: make a new one where this one was made.",
  ),
  UNTRUSTED: entry(
    infrastructure,
    "The runner does not trust this coordinator.",
    "Pair again: `runner invite` there, `coordinator add` here.",
  ),
  RUNNER_UNREACHABLE: entry(
    infrastructure,
    "No connection to the runner could be made.",
    "Is `runner start` running there, and its address reachable from here?",
  ),
  RUNNER_FULL: entry(
    infrastructure,
    "Every slot of the runner is taken.",
    "Wait, or start the runner with more --slots.",
  ),
  RUNNER_DRAINING: entry(
    infrastructure,
    "The runner takes no new jobs: it is stopping.",
    "Start it again, or use another runner.",
  ),
  POLICY_INVALID: entry(
    usage,
    "The runner's policy file is wrong, or others can write to it.",
    "`runner policy check` looks at it; docs/grants.md has its form.",
  ),
  DENIED: entry(
    infrastructure,
    "The runner was not told to allow this.",
    "Start the runner with the flag that is named.",
  ),
  SIGNATURE: entry(
    infrastructure,
    "The runner takes signed jobs only, and this one's signature is missing, not of a key it accepts, too old, or of something else.",
    "Sign with a key that the runner accepts: --sign-with FILE, or pair with the runner.",
  ),
  AUDIT_FAILED: entry(
    infrastructure,
    "The runner's audit cannot be written, and what is not on record is not run.",
    "Make room for the audit folder in the runner's state folder, or give it back its rights.",
  ),
  AUDIT_BROKEN: entry(
    failed,
    "The audit is not as the runner wrote it: something was changed, removed or put in another order.",
    "Keep a copy, and find out who can write there; to begin a new audit, move the folder away.",
  ),
  NO_RUNNER: entry(
    infrastructure,
    "No runner could take a job.",
    "`coordinator runners` shows what each runner can take.",
  ),
  DUPLICATE: entry(
    infrastructure,
    "The runner has taken an attempt of this id before.",
    "An attempt runs once; a retry is a new attempt.",
  ),
  CONNECTION_LOST: entry(
    infrastructure,
    "The connection ended before the call did.",
    "Look at the network and at the runner's own output.",
  ),
  SUPERSEDED: entry(
    infrastructure,
    "Another coordinator process of the same identity took the job over.",
    "`coordinator attach RUN` shows the run from there.",
  ),
  OFFSET_GONE: entry(
    infrastructure,
    "The journal does not hold this offset: it was acknowledged and removed, or lost with the runner's disk.",
    "`coordinator logs --from RUNNER JOB` shows what is left.",
  ),
  KEEPER_VERSION: entry(
    infrastructure,
    "The runner's jobs are kept by another version of Sortie.",
    "Let them end first: start that version again, and `runner drain`.",
  ),
  KEEPER_FAILED: entry(
    infrastructure,
    "The process that keeps the runner's jobs could not be started, or does not answer.",
    "Its own words are in keeper.log in the runner's state folder.",
  ),
  TOO_MANY: entry(
    infrastructure,
    "One peer asked for more at once than it may: calls, connections, or bytes that wait in memory.",
    "It is tried again by itself; docs/architecture.md tells the limits.",
  ),
  CHANNEL_FLOODED: entry(
    infrastructure,
    "The peer sent more than the window allows.",
    "The peer's version may not fit; the stream was ended.",
  ),
  PROTOCOL: entry(
    infrastructure,
    "The peer sent something that is not the protocol.",
    "The peer's version may not fit; the stream was ended.",
  ),
  TIMEOUT: entry(
    infrastructure,
    "The peer did not answer in time.",
    "Look at the network and at the runner's own output.",
  ),
  STATE_LOCKED: entry(
    infrastructure,
    "Another process uses this state folder.",
    "Stop it, or set SORTIE_HOME to another folder.",
  ),
  STATE_INVALID: entry(
    infrastructure,
    "A file of the state folder is damaged.",
    "Restore it, or move it away; it is made anew where that is safe.",
  ),
  STORE_FAILED: entry(
    infrastructure,
    "The run's record could not be written, most often a full disk.",
    "Make room under the state folder and run again.",
  ),
  LISTEN_FAILED: entry(
    infrastructure,
    "The address could not be listened on.",
    "Is the port taken? `--listen /ip4/…/tcp/0` picks a free one.",
  ),
  WATCH_FAILED: entry(
    infrastructure,
    "Files cannot be watched for changes.",
    "Where the system has no watches left: raise fs.inotify.max_user_watches, or let .gitignore name what need not be looked at.",
  ),
  OUTPUT_TOO_LONG: entry(
    failed,
    "A command of a function wrote more than is collected in memory.",
    "Read it with .lines(), write it to a file, or pipe it to another command.",
  ),
  OUTPUT_INCOMPLETE: entry(
    infrastructure,
    "Something of a command's output did not arrive, by the runner's own count.",
    "Run it again; a larger --journal-size at the runner holds more while nobody reads.",
  ),
  QUESTION_UNANSWERED: entry(
    failed,
    "A job asked something, and nobody could answer: there is no terminal, or it was closed.",
    "Run it in a terminal, or give the answer beforehand: --answer JOB=TEXT.",
  ),
  ANSWER_REFUSED: entry(
    failed,
    "A job asked something, and no answer was what it takes.",
    "Run it again, with an answer that fits.",
  ),
  RECIPE_CHANGED: entry(
    usage,
    "The recipe is not the one that the run began with.",
    "Run it anew, or bring the recipe back to what it was.",
  ),
  RUN_ENDED: entry(usage, "The run is over already.", "`coordinator show RUN` tells how it came out."),
  RUN_LIVES: entry(
    usage,
    "The run's coordinator is still at work.",
    "`coordinator attach RUN` shows it, and `coordinator cancel RUN` ends it.",
  ),
  JOB_FAILED: entry(failed, "A job failed.", "`coordinator logs RUN/JOB` shows its output."),
  INTERRUPTED: entry(interrupted, "Interrupted; jobs were cancelled first.", "Run again."),
  INTERNAL: entry(infrastructure, "A bug in Sortie.", "Please report it, with the output of --debug."),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorCatalog;

export interface ErrorOptions {
  hint?: string;
  cause?: unknown;
  /** Where in the person's own file, when it is about one. */
  at?: { file: string; line: number; column?: number };
}

/** An expected failure. `message` says what happened and where, in one sentence without the code. */
export class SortieError extends Error {
  override readonly name = "SortieError";
  readonly code: ErrorCode;
  readonly hint: string;
  readonly at: ErrorOptions["at"];

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? errorCatalog[code].hint;
    this.at = options.at;
  }
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorCatalog, code);

/** Any thrown value as a SortieError: what is not one already is a bug and says so. */
export function asSortieError(error: unknown): SortieError {
  if (error instanceof SortieError) return error;
  return new SortieError("INTERNAL", messageOf(error), { cause: error });
}

/** What was thrown, in its own words. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
