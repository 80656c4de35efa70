// An invite as a QR code for a terminal: who shows one uses this.

/** How much of a terminal it may take; without it, whatever it takes. */
export interface Room {
  readonly columns: number;
  readonly rows: number;
}

const BORDER = 2;

/** Lines of half blocks, two rows of the code in each; `undefined` where there is less room. */
export async function qrLines(
  text: string,
  room?: Room,
  coloured = !process.env["NO_COLOR"],
): Promise<string[] | undefined> {
  const { renderUnicodeCompact } = await import("uqr");
  const lines = renderUnicodeCompact(text, { border: BORDER }).split("\n");
  if (room && (lines.length > room.rows || (lines[0] ?? "").length > room.columns)) return undefined;
  // Light on dark, whatever the terminal's own colours are: many cameras do not read it the other way round.
  return coloured ? lines.map((line) => `\u001b[97;40m${line}\u001b[0m`) : lines;
}

/** What a terminal has, with some lines left for what stands above; `undefined` where the stream is none. */
export function roomOf(stream: NodeJS.WriteStream, linesAbove = 0): Room | undefined {
  return stream.isTTY ? { columns: stream.columns, rows: stream.rows - linesAbove } : undefined;
}
