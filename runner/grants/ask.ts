// Questions in the terminal of a runner that was given no grants: allow this once, always, or not at all. One at a time; who
// does not answer denies.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Caller } from "../../protocol/call.ts";
import { messageOf } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { oneLine } from "../../protocol/text.ts";
import { typedBefore } from "../../protocol/typed-before.ts";
import type { Decision } from "./decide.ts";
import { flagFor, meaningOf } from "./needed.ts";
import type { Want } from "./policy.ts";

export interface Question {
  readonly want: Want;
  readonly caller: Caller;
  readonly job: string;
  /** What the rules say by now: an answer before this one may have settled it. */
  decided(): Decision;
  /** Who asks for it has left: nothing would come of an answer. */
  readonly left: AbortSignal;
}

/** The rule, where it may be had; undefined where not. */
export type Ask = (question: Question) => Promise<string | undefined>;

export interface AskOptions {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  /** Where an answer for ever is written. */
  readonly path: string;
  allowAlways(peer: string, want: Want): void;
  /** Milliseconds. */
  readonly answerMs?: number;
}

type Answer = "once" | "always" | "deny";
const ANSWERS: Readonly<Record<string, Answer>> = {
  ...{ o: "once", once: "once", a: "always", always: "always", d: "deny", deny: "deny" },
};
/** What is answered sooner was typed before the question was read, for the one before it. */
const READING_MS = 300;
/** Denials that are remembered, the oldest forgotten first. */
const REMEMBERED = 1_000;

export function createAsk(options: AskOptions): Ask {
  const { input, output, path, allowAlways, answerMs = limits.grantAnswerMs } = options;
  const say = (text: string): void => void output.write(text);
  const denied = new Set<string>();
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;

  async function ask({ want, caller, job, decided, left }: Question): Promise<string | undefined> {
    const key = JSON.stringify([caller.peer, want.kind, want.value]);
    const now = decided();
    if (now.allowed) return now.rule;
    if (now.rule !== undefined || denied.has(key) || left.aborted || !isForeground()) return undefined;
    const meaning = meaningOf(want);
    say(
      `\n${oneLine(`${caller.name} (${caller.peer}) wants to ${want.what}, for the job ${job}.`)}\n${meaning ? `But ${oneLine(meaning)}.\n` : ""}`,
    );
    const answer = await answered(want, left);
    if (answer === undefined) say(left.aborted ? "\nWho asked has left.\n" : "\nNobody answered: denied.\n");
    if (answer === "deny") {
      denied.add(key);
      if (denied.size > REMEMBERED) denied.delete(denied.values().next().value as string);
    }
    if (answer === "always") {
      try {
        allowAlways(caller.peer, want);
      } catch (error) {
        say(`It could not be written, so it holds for this once: ${oneLine(messageOf(error))}\n`);
      }
    }
    return answer === "once" || answer === "always" ? `asked: ${answer}` : undefined;
  }

  /** Undefined where nobody is there. */
  async function answered(want: Want, left: AbortSignal): Promise<Answer | undefined> {
    const lines = createInterface({ input, terminal: false });
    const gone = new Promise<undefined>((resolve) => lines.once("close", () => resolve(undefined)));
    const close = (): void => lines.close();
    const late = setTimeout(close, answerMs);
    left.addEventListener("abort", close, { once: true });
    try {
      for (;;) {
        // What is granted then may be more than was asked for: of some things only the whole kind can be.
        const always = `${oneLine(flagFor(want))}, into ${path}`;
        say(`[o]nce, [a]lways (${always}), [d]eny for as long as this runner runs › `);
        // Once it is written, which a stopped terminal (Ctrl-S) holds up: nobody has read it before.
        // What was typed until then is read while nobody listens.
        await typedBefore(input);
        const asked = performance.now();
        const line = await Promise.race([gone, new Promise<string>((resolve) => lines.once("line", resolve))]);
        if (line === undefined) return undefined;
        const answer = ANSWERS[line.trim().toLowerCase()];
        if (answer && performance.now() - asked >= READING_MS) return answer;
      }
    } finally {
      clearTimeout(late);
      left.removeEventListener("abort", close);
      lines.close();
    }
  }

  return (question) => {
    if (waiting >= limits.grantQuestions) return Promise.resolve(undefined);
    waiting++;
    const mine = last.then(() => ask(question)).finally(() => waiting--);
    last = mine.catch(() => {});
    return mine;
  };
}

/** One that reads from its terminal in the background is stopped for it (SIGTTIN), with all of its connections. */
function isForeground(): boolean {
  try {
    const [, , group, , , terminalsGroup] = readFileSync("/proc/self/stat", "latin1")
      .replace(/^.*\) /, "")
      .split(" ");
    // -1: it has no terminal that could stop it.
    return terminalsGroup === "-1" || group === terminalsGroup;
  } catch {
    return true;
  }
}
