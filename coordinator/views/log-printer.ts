// Prints a log: bytes as they are to a file or a pipe; to a terminal, lines that cannot act on it, unless raw.
import type { LogPart } from "../store/read-log.ts";
import { safeLine, writeTo } from "./format.ts";
import { type LineCutter, lineCutter } from "./lines.ts";

export interface LogPrinterOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  readonly raw: boolean;
}

export interface LogPrinter {
  print(part: LogPart): Promise<void> | undefined;
  /** Prints what is left of unfinished lines. */
  end(): Promise<void>;
}

export function logPrinter(options: LogPrinterOptions): LogPrinter {
  const outputs = { stdout: process.stdout, stderr: process.stderr };
  const cutters: Record<"stdout" | "stderr", LineCutter> = { stdout: lineCutter(), stderr: lineCutter() };
  const lastAt = { stdout: 0, stderr: 0 };

  const text = (stream: "stdout" | "stderr", line: string, at: number): string => {
    const time = options.timestamps ? `${new Date(at).toISOString()} ` : "";
    return time + (outputs[stream].isTTY && !options.raw ? safeLine(line, true) : line);
  };

  return {
    print(part) {
      if (part.kind === "dropped") {
        process.stderr.write(
          `sortie: ${part.stdout} bytes of stdout and ${part.stderr} bytes of stderr are not in this log: ${part.reason}\n`,
        );
        return undefined;
      }
      if (part.kind !== "output" || !options[part.stream]) return undefined;
      const out = outputs[part.stream];
      if (!options.timestamps && (options.raw || !out.isTTY)) return writeTo(out, part.bytes);
      lastAt[part.stream] = part.at;
      const lines = cutters[part.stream].push(part.bytes).map((line) => `${text(part.stream, line, part.at)}\n`);
      return lines.length > 0 ? writeTo(out, lines.join("")) : undefined;
    },
    async end() {
      for (const stream of ["stdout", "stderr"] as const) {
        const rest = cutters[stream].rest();
        if (rest !== undefined) await writeTo(outputs[stream], text(stream, rest, lastAt[stream]));
      }
    },
  };
}
