// How long an invite lives, as people write it after --ttl: `runner invite` and `coordinator invite`.
import { SortieError } from "./errors.ts";

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** An invite is an open door; who needs one for longer makes another. */
const LONGEST_MS = 7 * 86_400_000;

/** A bare number is minutes. */
export function parseTtl(text: string): number {
  const [, number = "", unit = ""] = /^(\d{1,6})([smhd]?)$/.exec(text) ?? [];
  const ttlMs = Number(number) * (UNITS_MS[unit || "m"] ?? 0);
  if (ttlMs > 0 && ttlMs <= LONGEST_MS) return ttlMs;
  throw new SortieError(
    "USAGE",
    `--ttl takes a time like 90s, 10m, 2h or 1d, at most a week, not ${JSON.stringify(text)}.`,
  );
}
