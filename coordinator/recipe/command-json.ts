// What a command wrote, as JSON that a schema has checked. command.ts calls it.
import { issueText, type StandardSchema } from "./schema.ts";

/** Throws a TypeError that names the command, and where in the value its schema does not take it. */
export async function jsonOf(text: string, schema: StandardSchema | undefined, command: string): Promise<unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new TypeError(`${command} did not write JSON: ${(error as Error).message}`);
  }
  if (!schema) return json;
  const checked = await schema["~standard"].validate(json);
  if (!checked.issues) return checked.value;
  const [issue] = checked.issues;
  throw new TypeError(`${command} wrote what its schema does not take: ${issue ? issueText(issue) : ""}`);
}
