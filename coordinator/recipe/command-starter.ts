// What a function's `$` starts commands with. The coordinator's driver is one: driven-place.ts.

import type { Command as CommandText } from "../../protocol/command.ts";
import type { Exit, SignalName } from "../../protocol/exit.ts";

/** Starts commands where a job is. */
export interface CommandStarter {
  /** Never throws: what is wrong is told by the command's end. */
  start(spec: CommandSpec, sink: CommandSink): StartedCommand;
}

export interface CommandSpec {
  readonly command: CommandText;
  /** Beside the job's own. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  /** Absent: it has none. */
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Whether its output is shown and logged, logged only, or neither, because it goes to another command. */
  readonly stdout: "shown" | "logged" | "passed";
  readonly stderr: "shown" | "logged";
  /** The command as its job's log has it. Absent: it is not told. */
  readonly note?: string;
}

export interface CommandSink {
  /** One at a time for each output. The runner sends no more than a window beyond what these promises have taken. */
  output(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> | void;
}

export interface StartedCommand {
  /**
   * The exit, once every byte before it was taken by the sink; that of a cancellation also where it was cancelled before it
   * began. Rejects with a SortieError where it was lost, or refused.
   */
  readonly end: Promise<Exit>;
  signal(name: SignalName): void;
  cancel(): void;
}
