// Durations as people write them: "90s", "10m", "1h30m", "500ms"; a plain number is milliseconds.
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";

const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Whole milliseconds; `undefined` where it is no duration, or longer than a timer can be (24 days). */
export function parseDuration(value: unknown): number | undefined {
  const milliseconds =
    typeof value === "number" ? value : typeof value === "string" ? parseText(value.trim()) : undefined;
  if (milliseconds === undefined || !Number.isFinite(milliseconds) || milliseconds < 0) return undefined;
  return milliseconds > limits.timeoutMaximumMs ? undefined : Math.round(milliseconds);
}

/** The option's milliseconds. Throws USAGE; `or` says what else it takes. */
export function durationOption(option: string, text: string, minimumMs: number, or = ""): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= minimumMs) return milliseconds;
  const least = minimumMs > 0 ? `, at least ${minimumMs / 1_000}s` : "";
  throw new SortieError(
    "USAGE",
    `--${option} takes a duration such as 90s or 10m${least}${or}, not ${JSON.stringify(text)}.`,
  );
}

function parseText(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g))
    total += Number(amount) * (units[unit ?? ""] ?? 0);
  return total;
}
