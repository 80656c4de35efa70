// What an engine's error says about a container that was to be created or started.

import { messageOf } from "../../../../protocol/errors.ts";
import { oneLine } from "../../../../protocol/text.ts";
import type { Refusal } from "../backend.ts";
import { reasonOf } from "./engine.ts";

/** Undefined where the engine did not answer at all. */
export const statusOf = (error: unknown): number | undefined =>
  (error as { statusCode?: number } | undefined)?.statusCode;

/** The engine's own words, without what the library puts around them. */
export function wordsOf(error: unknown): string {
  const message = (error as { json?: { message?: string } } | undefined)?.json?.message ?? messageOf(error);
  return oneLine(message).trim().slice(0, 800);
}

export function refusalOf(error: unknown, image: string): Refusal {
  const status = statusOf(error);
  if (status === undefined)
    return { stage: "engine", code: null, message: `the container engine does not answer (${reasonOf(error)})` };
  const words = wordsOf(error);
  if (status === 404 && /no such image/i.test(words))
    return { stage: "image", code: null, message: `the image ${image} is not there any more` };
  if (/work(ing)? ?dir|chdir/i.test(words))
    return { stage: "workdir", code: null, message: `the engine refused the working directory: ${words}` };
  return { stage: "spawn", code: null, message: `the engine could not start the container: ${words}` };
}
