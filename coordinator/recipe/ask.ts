// How a job's function asks the person who runs it. drive.ts gives a function its `ask`, made by questions.ts.
import { limits } from "../../protocol/limits.ts";
import { isSchema, type SchemaOutput, type StandardSchema } from "./schema.ts";

/** What `ask` takes besides the question. */
export interface AskOptions<Schema extends StandardSchema = StandardSchema> {
  /**
   * What the answer must fit, by any library that follows Standard Schema. Otherwise it is asked again, with the schema's
   * words; after three answers that do not fit the job fails. Default: any line.
   */
  readonly schema: Schema;
}

/**
 * Asks the person at the terminal where the coordinator runs, and resolves with the line that they type, or with what the
 * schema makes of it. Jobs that ask at the same time wait for each other. An answer is in no event, log or record.
 *
 * Rejects with QUESTION_UNANSWERED where there is no terminal and `--answer JOB=TEXT` did not give the answer beforehand,
 * with ANSWER_REFUSED where no answer fits, and with the job's own end.
 * @example const typed = await ask("Type the version to release it", { schema: v.literal(version) });
 */
export interface Ask {
  (question: string): Promise<string>;
  <Schema extends StandardSchema>(question: string, options: AskOptions<Schema>): Promise<SchemaOutput<Schema>>;
}

/** @internal Throws for what `ask` cannot be called with. */
export function checkAsked(question: unknown, options: Partial<AskOptions> | undefined): asserts question is string {
  if (typeof question !== "string" || question.trim() === "") throw new TypeError("ask() takes a question.");
  if (question.length > limits.questionCharacters)
    throw new RangeError(`ask() takes a question of at most ${limits.questionCharacters} characters.`);
  if (options?.schema !== undefined && !isSchema(options.schema))
    throw new TypeError("ask() takes { schema }, a Standard Schema.");
}
