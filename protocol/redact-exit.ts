// An exit without secrets: what it says in words, of why, and of the processes that were ended. Its counts stay as they are. The
// keeper writes no other, and the coordinator tells no other.
import type { Ending, Exit } from "./exit.ts";
import type { Redaction } from "./redact.ts";

export function redactExit(exit: Exit, { text }: Redaction): Exit {
  return {
    ...exit,
    ...("message" in exit && exit.message !== undefined ? { message: text(exit.message) } : {}),
    ...("ending" in exit && exit.ending ? { ending: redactEnding(exit.ending, text) } : {}),
  } as Exit;
}

function redactEnding(ending: Ending, text: Redaction["text"]): Ending {
  const named = <One extends { readonly name: string }>(one: One): One => ({ ...one, name: text(one.name) });
  return { ...ending, ended: ending.ended.map(named), survivors: ending.survivors.map(named) };
}
