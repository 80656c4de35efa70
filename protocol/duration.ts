// Durations as people write them: "90s", "10m", "1h30m", "500ms"; a plain number is milliseconds.
import { limits } from "./limits.ts";

const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Whole milliseconds; `undefined` where it is no duration, or longer than a timer can be (24 days). */
export function parseDuration(value: unknown): number | undefined {
  const milliseconds =
    typeof value === "number" ? value : typeof value === "string" ? parseText(value.trim()) : undefined;
  if (milliseconds === undefined || !Number.isFinite(milliseconds) || milliseconds < 0) return undefined;
  return milliseconds > limits.timeoutMaximumMs ? undefined : Math.round(milliseconds);
}

function parseText(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g))
    total += Number(amount) * (units[unit ?? ""] ?? 0);
  return total;
}
