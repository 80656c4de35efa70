// What the front itself writes down of a request, without the secrets that came in it. audit.ts and admission.ts call it.
import type { JobRequest } from "../protocol/messages.ts";
import { MASK } from "../protocol/redact.ts";

/**
 * Only as they are: what is wanted of a runner is in the request's own words, and to look for every form of them would be
 * much to do for whatever anybody asks. `input`: of any call.
 */
export function hideIn(input: unknown, text: string): string {
  const secrets = (input as { request?: JobRequest } | undefined)?.request?.secrets ?? [];
  return secrets.reduce((shown, { value }) => shown.replaceAll(value.trim(), MASK), text);
}
