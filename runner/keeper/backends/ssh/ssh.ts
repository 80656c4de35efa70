// Runs jobs on hosts that the runner reaches by ssh, on ssh2: the user's own configuration, keys and known hosts, one
// connection for many jobs, and scripts that end what a job leaves. The keeper opens it; docs/ssh.md says what it does.
import { randomBytes } from "node:crypto";
import { posix } from "node:path";
import * as v from "valibot";
import { limits } from "../../../../protocol/limits.ts";
import type { JobRequest } from "../../../../protocol/messages.ts";
import { SshTarget } from "../../../../protocol/place.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { MARKER } from "../../process-tree.ts";
import { markOf, variablesOf } from "../../work.ts";
import {
  type Backend,
  Refused,
  type RunningCommand,
  type Site,
  type SiteCommand,
  type SiteEvents,
} from "../backend.ts";
import { type Started, startCommand } from "./command.ts";
import { type Held, openHosts } from "./hosts.ts";
import { endTree } from "./remote.ts";
import { type Leader, RESERVED, removeScript, removeSecretsScript } from "./script.ts";
import type { HostTimes } from "./sessions.ts";

export interface SshOptions {
  readonly log: (line: string) => void;
  /** Read instead of the user's own ssh configuration; without it SORTIE_SSH_CONFIG names one. */
  readonly config?: string | undefined;
  readonly times?: Partial<HostTimes>;
}

const TIMES: HostTimes = {
  idleMs: limits.sshIdleMs,
  reconnectMs: limits.sshReconnectMs,
  answerMs: limits.sshAnswerMs,
  startMs: limits.sshStartMs,
};
const PREFIX = "ssh ";
/** A path that is longer is not remembered: a mark has room for so much. */
const MARKED_PATH = 400;

const Mark = v.object({
  target: SshTarget,
  /** Of the job's own directory, below the one for temporary files. */
  name: v.optional(v.pipe(v.string(), v.regex(/^sortie-[0-9a-z-]+$/))),
  directory: v.optional(v.pipe(v.string(), v.startsWith("/"))),
  /** Of the one with the files of the job's secrets. */
  secrets: v.optional(v.pipe(v.string(), v.regex(/^sortie-secrets-[0-9a-z-]+$/))),
  leader: v.optional(
    v.object({ pid: v.pipe(v.number(), v.integer(), v.minValue(2)), began: v.pipe(v.string(), v.digits()) }),
  ),
});
type Mark = v.InferOutput<typeof Mark>;

const NEVER = new AbortController().signal;

export function sshBackend({
  log,
  config = process.env["SORTIE_SSH_CONFIG"] || undefined,
  times = {},
}: SshOptions): Backend {
  const hosts = openHosts(config, { ...TIMES, ...times });

  return {
    async open(request, _workspace, events, cancelled) {
      if (!request.ssh) throw new Refused("host", "the job names no host");
      const shown = request.secrets?.find((secret) => secret.as === "env" && RESERVED.test(secret.variable));
      if (shown?.as === "env")
        throw new Refused(
          "spawn",
          `a secret cannot be in ${shown.variable}, which shells keep for themselves: on the host it would be set by env(1), in whose arguments every user can read it`,
        );
      const held = await hosts.hold(request.ssh, cancelled);
      try {
        await held.host.ready(cancelled);
      } catch (error) {
        held.release();
        throw error;
      }
      return siteOf(held, request, request.ssh, events, log);
    },
    async reap(attempt, text) {
      const { target, name, directory, secrets, leader } = v.parse(Mark, JSON.parse(text.slice(PREFIX.length)));
      const { host, release } = await hosts.hold(target, NEVER);
      const work = directory ? removeScript({ path: directory }) : name ? removeScript({ name }) : "";
      const remove = (secrets ? removeSecretsScript(secrets) : "") + work;
      const { ending, lines } = await endTree(host, { mark: `${MARKER}=${attempt}`, leader }, 0, remove).finally(
        release,
      );
      if (ending.survivors.length > 0 || lines.length > 0)
        log(`what ${attempt} left on ${host.name} could not be ended or removed whole`);
    },
    close: () => hosts.close(),
  };
}

function siteOf(
  { host, release }: Held,
  request: JobRequest,
  target: SshTarget,
  events: SiteEvents,
  log: (line: string) => void,
): Site {
  const name = request.cwd === undefined ? `sortie-${request.attemptId}-${randomBytes(8).toString("hex")}` : undefined;
  const files = (request.secrets ?? []).flatMap((secret) =>
    secret.as === "file" ? [{ name: secret.name, variable: `${secret.name}_FILE`, value: secret.value }] : [],
  );
  const secrets =
    files.length === 0
      ? undefined
      : { directory: `sortie-secrets-${request.attemptId}-${randomBytes(8).toString("hex")}`, files };
  const mark = markOf(request);
  /** Where the steps run, once the first one told it. */
  let directory: string | undefined;
  let leader: Leader | undefined;
  let used = false;

  const remember = (): void => {
    const ours = name !== undefined && directory !== undefined && directory.length <= MARKED_PATH ? { directory } : {};
    const kept = secrets ? { secrets: secrets.directory } : {};
    const text: Mark = { target, ...(name ? { name } : {}), ...ours, ...kept, ...(leader ? { leader } : {}) };
    events.mark(PREFIX + JSON.stringify(text));
  };

  function launch({ command, stdin, own }: SiteCommand, cancelled: AbortSignal): Promise<Started> {
    const base = request.cwd ?? directory;
    return startCommand(
      host,
      {
        command,
        variables: variablesOf(request, own),
        directory: base === undefined ? { name: name ?? "" } : { path: posix.resolve(base, own?.cwd ?? "") },
        secrets,
        umask: request.umask,
        nice: request.nice,
        stdin,
      },
      markOf(request, own),
      cancelled,
    );
  }

  async function startStep(command: SiteCommand, cancelled: AbortSignal): Promise<RunningCommand> {
    if (!used) remember();
    const started = await launch(command, cancelled);
    used ||= started.sent;
    directory ??= started.directory;
    leader = started.leader;
    if (used) remember();
    return started.command;
  }

  return {
    async enter(cancelled) {
      // The directory is made, and told, by whatever runs there first.
      const first = await startStep({ command: { shell: ":" }, stdin: false }, cancelled);
      first.stdout.resume();
      first.stderr.resume();
      const how = await first.settled;
      if (how.kind === "failed") throw new Refused(how.stage, how.message);
      if (directory === undefined)
        throw new Refused("host", how.kind === "lost" ? how.message : `${host.name} did not tell the job's directory`);
      return directory;
    },
    async start(command, cancelled) {
      if (!command.own) return startStep(command, cancelled);
      const started = await launch(command, cancelled);
      if (started.leader) command.own.mark(PREFIX + JSON.stringify({ target, leader: started.leader } satisfies Mark));
      return started.command;
    },
    async end() {},
    async close() {
      if (!used) {
        release();
        return true;
      }
      const own = name === undefined ? undefined : directory === undefined ? { name } : { path: directory };
      try {
        const remove = (secrets ? removeSecretsScript(secrets.directory) : "") + (own ? removeScript(own) : "");
        const { ending, lines } = await endTree(host, { mark, leader }, 0, remove);
        for (const { pid, name: process } of ending.survivors)
          log(`${process} (${pid}) of ${request.attemptId} could not be ended on ${host.name}`);
        if (lines.length > 0) log(`the directory of ${request.attemptId} was not removed: ${oneLine(lines.join(" "))}`);
        return ending.survivors.length === 0 && lines.length === 0;
      } catch (error) {
        log(`what ${request.attemptId} left on ${host.name} was not looked for: ${oneLine((error as Error).message)}`);
        return false;
      } finally {
        release();
      }
    },
  };
}
