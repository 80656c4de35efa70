// What a job's site tells beside the job's output, as notes in its journal: without its secrets, of bounded length each, and
// all together.
import { limits } from "../../protocol/limits.ts";
import type { JournalControl } from "../../protocol/messages.ts";
import type { Redaction } from "../../protocol/redact.ts";

/** The function that takes a note: in pieces where it is long; past the limit, only that there was more. */
export function noteTaker(
  write: (note: JournalControl) => void,
  redaction: Redaction | undefined,
): (from: string, text: string) => void {
  let room: number = limits.notesBytes;
  return (from, said) => {
    const text = redaction ? redaction.text(said) : said;
    for (let at = 0; at < text.length && room > 0; at += limits.noteCharacters) {
      const piece = text.slice(at, at + limits.noteCharacters);
      room -= Buffer.byteLength(piece);
      write({ type: "note", at: Date.now(), from, text: piece });
      if (room <= 0)
        write({ type: "note", at: Date.now(), from: "sortie", text: "what else the job's services say is not kept" });
    }
  };
}
