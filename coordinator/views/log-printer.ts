// Prints a log: bytes as they are to a file or a pipe; to a terminal, text that cannot act on it, unless raw.
import type { LogPart } from "../store/read-log.ts";
import { noteLines, oneLine, writeTo } from "./format.ts";
import { terminalText } from "./terminal-text.ts";

export interface LogPrinterOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  readonly raw: boolean;
  /** Whether notes are shown, on stderr. */
  readonly notes: boolean;
}

export interface LogPrinter {
  print(part: LogPart): Promise<void> | undefined;
  /** A line of Sortie's own, on stderr. */
  note(text: string): Promise<void> | undefined;
  /** Prints what was held back of characters that came in parts. */
  end(): Promise<void>;
}

export function logPrinter(options: LogPrinterOptions): LogPrinter {
  const outputs = { stdout: process.stdout, stderr: process.stderr };
  const terminals = {
    stdout: outputs.stdout.isTTY && !options.raw ? terminalText() : undefined,
    stderr: outputs.stderr.isTTY && !options.raw ? terminalText() : undefined,
  };
  const atLineStart = { stdout: true, stderr: true };

  const write = (stream: "stdout" | "stderr", text: string, at: number): Promise<void> | undefined => {
    if (text === "") return undefined;
    const stamped = options.timestamps ? stamp(text, at, atLineStart[stream]) : text;
    atLineStart[stream] = text.endsWith("\n");
    // Bytes that no terminal sees go through as they are: Latin-1 is a character for each.
    return writeTo(outputs[stream], terminals[stream] ? stamped : Buffer.from(stamped, "latin1"));
  };

  /** What ends a line that the job has begun where Sortie writes one of its own; in a terminal both outputs share it. */
  const lineEnd = (): string => {
    const isShared = outputs.stderr.isTTY && outputs.stdout.isTTY;
    if (atLineStart.stderr && (atLineStart.stdout || !isShared)) return "";
    atLineStart.stderr = true;
    if (isShared) atLineStart.stdout = true;
    return "\n";
  };

  /** Whole lines, also where the job is in the middle of one. */
  const writeNote = ({ from, text, at }: LogPart & { kind: "note" }): Promise<void> | undefined => {
    const head = `${options.timestamps ? `${new Date(at).toISOString()} ` : ""}[${oneLine(from)}] `;
    const lines = noteLines(text, outputs.stderr.isTTY).map((line) => `${head}${line}\n`);
    return writeTo(outputs.stderr, lineEnd() + lines.join(""));
  };

  return {
    print(part) {
      if (part.kind === "dropped")
        return this.note(
          `${part.stdout} bytes of stdout and ${part.stderr} bytes of stderr are not in this log: ${part.reason}`,
        );
      if (part.kind === "note") return options.notes ? writeNote(part) : undefined;
      if (part.kind !== "output" || !options[part.stream]) return undefined;
      const { stream, bytes, at } = part;
      const terminal = terminals[stream];
      if (terminal) return write(stream, terminal.push(bytes), at);
      if (options.timestamps) return write(stream, Buffer.from(bytes).toString("latin1"), at);
      atLineStart[stream] = bytes.at(-1) === 10;
      return writeTo(outputs[stream], bytes);
    },
    note(text) {
      return writeTo(outputs.stderr, `${outputs.stderr.isTTY ? lineEnd() : ""}sortie: ${oneLine(text)}\n`);
    },
    async end() {
      for (const stream of ["stdout", "stderr"] as const) {
        const rest = terminals[stream]?.end();
        if (rest) await writeTo(outputs[stream], rest);
      }
    },
  };
}

/** The time before each line; the text may begin in the middle of one. */
function stamp(text: string, at: number, atLineStart: boolean): string {
  const time = `${new Date(at).toISOString()} `;
  const whole = text.endsWith("\n");
  const lines = (whole ? text.slice(0, -1) : text).replaceAll("\n", `\n${time}`);
  return `${atLineStart ? time : ""}${lines}${whole ? "\n" : ""}`;
}
