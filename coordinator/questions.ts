// What the jobs of a run ask the person who runs it: one question after the other, whoever asks. Answers that were given
// beforehand come first. An answer is told to nobody but the function that asked. execute.ts has one for the run, and drive.ts
// makes each attempt's `ask` of it.
import PQueue from "p-queue";
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { oneLine } from "../protocol/text.ts";
import type { Answers } from "./answers.ts";
import type { RunEvent } from "./events.ts";
import { type Ask, type AskOptions, checkAsked } from "./recipe/ask.ts";
import type { StandardSchema } from "./recipe/schema.ts";
import { forgetTyped, typedLine } from "./typed-line.ts";

type Emit = (event: RunEvent & { type: "job-asking" | "job-answered" }) => void | Promise<void>;

/** What one attempt of a job asks with. */
export interface Asker {
  readonly ask: Ask;
  /** Takes back what is still asked; once it resolves nothing more is told. */
  close(): Promise<void>;
}

type Checked = { readonly value: unknown } | { readonly refused: string };

export class Questions {
  readonly #answers: Answers;
  readonly #input: NodeJS.ReadStream;
  readonly #queue = new PQueue({ concurrency: 1 });

  constructor(answers: Answers = new Map(), input: NodeJS.ReadStream = process.stdin) {
    this.#answers = answers;
    this.#input = input;
  }

  /** A job that is tried again gets the answers that were given beforehand again. */
  asker(job: JobName, over: AbortSignal, emit: Emit): Asker {
    const given = [...(this.#answers.get(job) ?? [])];
    const closed = new AbortController();
    const signal = AbortSignal.any([over, closed.signal]);
    const asked = new Set<Promise<unknown>>();

    const answer = async (question: string, schema: StandardSchema | undefined): Promise<unknown> => {
      signal.throwIfAborted();
      const beforehand = given.shift();
      if (beforehand !== undefined) {
        await emit({ type: "job-answered", at: Date.now(), job, question, by: "option" });
        const checked = await check(beforehand, schema);
        if ("value" in checked) return checked.value;
        throw new SortieError("ANSWER_REFUSED", `The --answer to ${shown(question)} is not what ${job} takes.`);
      }
      if (!this.#input.isTTY)
        throw new SortieError(
          "QUESTION_UNANSWERED",
          `${job} asks ${shown(question)}, and there is no terminal to ask at.`,
        );
      if (this.#queue.size >= limits.questionsWaiting)
        throw new SortieError(
          "QUESTION_UNANSWERED",
          `${limits.questionsWaiting} questions wait for an answer already.`,
          {
            hint: "Await each answer before the next question.",
          },
        );
      return this.#queue.add(() => this.#askPerson(job, question, schema, signal, emit), { signal });
    };

    const ask = (question: unknown, options?: Partial<AskOptions>): Promise<unknown> => {
      checkAsked(question, options);
      const answered = answer(question, options?.schema).finally(() => asked.delete(answered));
      asked.add(answered);
      // A function may have left without it.
      answered.catch(() => {});
      return answered;
    };

    return {
      ask: ask as Ask,
      async close() {
        closed.abort(new SortieError("INTERRUPTED", "The job is over."));
        await Promise.allSettled(asked);
      },
    };
  }

  async #askPerson(
    job: JobName,
    question: string,
    schema: StandardSchema | undefined,
    signal: AbortSignal,
    emit: Emit,
  ): Promise<unknown> {
    await forgetTyped(this.#input);
    signal.throwIfAborted();
    let by: "person" | "nobody" = "nobody";
    try {
      for (let refusals = 0; refusals < limits.answersRefused; refusals++) {
        await emit({ type: "job-asking", at: Date.now(), job, question, refusals });
        const line = await typedLine(this.#input, signal);
        if (line === undefined)
          throw new SortieError("QUESTION_UNANSWERED", `${job} asks ${shown(question)}, and its terminal was closed.`);
        const checked = await check(line, schema);
        if ("value" in checked) {
          by = "person";
          return checked.value;
        }
        // A schema may repeat what was typed, so its words are for the person alone.
        process.stderr.write(`${oneLine(checked.refused)}\n`);
      }
      throw new SortieError("ANSWER_REFUSED", `No answer to ${shown(question)} was what ${job} takes.`);
    } finally {
      await emit({ type: "job-answered", at: Date.now(), job, question, by });
    }
  }
}

const shown = (question: string): string => JSON.stringify(oneLine(question));

async function check(text: string, schema: StandardSchema | undefined): Promise<Checked> {
  if (!schema) return { value: text };
  const checked = await schema["~standard"].validate(text);
  if (!checked.issues) return { value: checked.value };
  return { refused: checked.issues[0]?.message ?? "It is not what is asked for." };
}
