// `--answer JOB=TEXT`: what jobs are to be told when they ask, given beforehand. questions.ts hands them out.
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { Plan } from "./plan.ts";
import { namedIn } from "./select.ts";

/** Of each job, in the order of its questions. */
export type Answers = ReadonlyMap<string, readonly string[]>;

export const answerOption = {
  type: "string",
  array: true,
  nargs: 1,
  requiresArg: true,
  describe: "JOB=TEXT, the answer to what the job asks; may be given again, one for each question",
} as const;

/** A job of a matrix has `=` in its name too, within brackets. */
const PAIR = /^((?:[^=[\]]|\[[^\]]*\])+)=(.*)$/s;

/** Throws USAGE; what is wrong is told without the answer. */
export function parseAnswers(texts: readonly string[]): Answers {
  const answers = new Map<string, string[]>();
  for (const text of texts) {
    const [, job, answer = ""] = PAIR.exec(text) ?? [];
    if (job === undefined) throw new SortieError("USAGE", "--answer takes JOB=TEXT.");
    if (Buffer.byteLength(answer) > limits.paramBytes)
      throw new SortieError("USAGE", `The answer to ${job} is longer than ${limits.paramBytes} bytes.`);
    answers.set(job, [...(answers.get(job) ?? []), answer]);
  }
  return answers;
}

/** Throws USAGE for a job that cannot be: it is not in the plan, and no function of the plan could give it. */
export function checkAnswers(answers: Answers, plan: Plan): void {
  const givers = plan.jobs.filter(({ drive }) => drive).map(({ name }) => `${name}.`);
  namedIn(plan)([...answers.keys()].filter((job) => !givers.some((giver) => job.startsWith(giver))));
}
