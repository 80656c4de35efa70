// Sizes as people write them: "512m", "1.5GiB"; a plain number is bytes.

const UNITS = ["", "k", "m", "g", "t"];

/** Whole bytes, in steps of 1,024; `undefined` for what is no size. */
export function parseSize(value: unknown): number | undefined {
  const bytes = typeof value === "number" ? value : typeof value === "string" ? parseText(value) : undefined;
  return bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : undefined;
}

function parseText(text: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)\s?(?:([kmgt])(?:ib)?)?$/i.exec(text.trim()) ?? [];
  return number === undefined ? undefined : Math.floor(Number(number) * 1024 ** UNITS.indexOf(unit.toLowerCase()));
}
