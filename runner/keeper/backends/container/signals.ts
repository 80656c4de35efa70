// Signals for everything in a container, and what runs in it. command.ts asks.
import type Docker from "dockerode";
import type { SignalName } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import type { Engine } from "./engine.ts";
import { statusOf } from "./engine-error.ts";

export interface Process {
  readonly pid: number;
  readonly name: string;
}

/** The code that `sh` or the engine gives where a program could not be started. */
const NOT_STARTED = [126, 127];
/** The code of our own script where it found nobody. */
const NOBODY = 3;
/** Each takes an engine some time. */
const MOST_LOOKS = 5;

/**
 * To every process but init, by the image's own sh; where it has none by the engine, which reaches the command alone. As
 * the container's own user, so that nothing of the image gets more rights than the job has; only where the job may get
 * more itself (sudo) as root.
 */
export async function signalAll(
  engine: Engine,
  container: Docker.Container,
  names: readonly SignalName[],
  asRoot: boolean,
): Promise<void> {
  const [first, ...others] = names.map((name) => `kill -${name} -1`);
  const script = [`${first} || exit ${NOBODY}`, ...others, "exit 0"].join("; ");
  try {
    const late = AbortSignal.timeout(limits.killedWithinMs);
    for (let looks = 1; ; looks++) {
      const code = await execute(engine, container, ["/bin/sh", "-c", script], asRoot ? "0" : undefined, late);
      if (NOT_STARTED.includes(code)) break;
      // Of a container that was started just now init alone may be there, about to start the command.
      if (code !== NOBODY || looks === MOST_LOOKS) return;
    }
  } catch (error) {
    // The engine is silent; else it is over, or nothing can be executed in it.
    if (statusOf(error) === undefined) return;
  }
  for (const name of names) await container.kill({ signal: `SIG${name}` }).catch(() => {});
}

/** Runs a command in a container that runs, and gives its code. */
export async function execute(
  _engine: Engine,
  container: Docker.Container,
  argv: readonly string[],
  user?: string,
  signal?: AbortSignal,
): Promise<number> {
  const exec = await container.exec({
    Cmd: [...argv],
    AttachStdout: true,
    AttachStderr: true,
    ...(user === undefined ? {} : { User: user }),
    ...(signal ? { abortSignal: signal } : {}),
  });
  const output = await exec.start({ Detach: false, Tty: false, ...(signal ? { abortSignal: signal } : {}) } as never);
  await new Promise((resolve, reject) => {
    output.on("close", resolve);
    output.on("error", reject);
    output.resume();
  });
  const { ExitCode } = await exec.inspect({ ...(signal ? { abortSignal: signal } : {}) });
  return ExitCode ?? -1;
}

/** Everything in it but init, by the numbers of the engine's host; nothing where it is over, undefined where the engine does not tell. */
export async function processesIn({ isPodman }: Engine, container: Docker.Container): Promise<Process[] | undefined> {
  try {
    const [{ State }, { Processes }] = await Promise.all([
      container.inspect(),
      // Podman knows names of its own, and would run the image's ps for any other.
      container.top({ ps_args: isPodman ? "hpid,comm" : "-eo pid,comm" }) as Promise<{ Processes: string[][] }>,
    ]);
    return (Processes ?? [])
      .map(([pid, name = ""]) => ({ pid: Number(pid), name: name.slice(0, 64) }))
      .filter(({ pid }) => Number.isInteger(pid) && pid > 0 && pid !== State.Pid);
  } catch (error) {
    return statusOf(error) === undefined ? undefined : [];
  }
}
