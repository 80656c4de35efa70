// A command as people see it, without the job's secrets: in the note that tells of it, and in errors. command.ts calls it.
import type { Command } from "../../protocol/command.ts";
import { quote } from "../../protocol/quote.ts";
import { oneLine } from "../../protocol/text.ts";

const NOTE_CHARACTERS = 1_000;
const LINE_CHARACTERS = 100;

type Hide = (text: string) => string;

/** As it is written. */
export const commandNote = (command: Command, hide: Hide): string => cut(textOf(command, hide), NOTE_CHARACTERS);

/** In one short line. */
export const commandLine = (command: Command, hide: Hide): string =>
  cut(oneLine(textOf(command, hide)), LINE_CHARACTERS);

/** Secrets go first: of one that is cut the rest would be seen, and nothing would know it again. */
const textOf = (command: Command, hide: Hide): string =>
  hide("argv" in command ? command.argv.map(quote).join(" ") : command.shell.trim());

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text);
