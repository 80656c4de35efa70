// What the front itself writes down of a request, without the secrets that came in it. audit.ts and admission.ts call it.
import type { JobRequest } from "../protocol/messages.ts";
import { quoted } from "../protocol/quote.ts";
import { MASK } from "../protocol/redact.ts";

/**
 * Only as they are, and as denials quote them: what is wanted of a runner is in the request's own words, and to look for every
 * form of them would be much to do for whatever anybody asks. `input`: of any call.
 */
export function hideIn(input: unknown, text: string): string {
  const secrets = (input as { request?: JobRequest } | undefined)?.request?.secrets ?? [];
  return (
    secrets
      .map(({ value }) => value.trim())
      .filter(({ length }) => length <= text.length)
      .flatMap((value) => [value, JSON.stringify(value).slice(1, -1), quoted(value).slice(1, -1)])
      // One may begin with another.
      .sort((one, other) => other.length - one.length)
      .reduce((shown, form) => shown.replaceAll(form, MASK), text)
  );
}
