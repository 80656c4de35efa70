// `*` in items of grants: any run of characters within one segment, and nothing else is special. Whole strings only. Pure;
// the kinds whose items may have one ask.

/** The same segments between the same separators; `separators` matches one of them, in a group of its own. */
export function fits(pattern: string, value: string, separators: RegExp): boolean {
  const [expected, actual] = [pattern.split(separators), value.split(separators)];
  return expected.length === actual.length && expected.every((part, at) => fitsSegment(part, actual[at] as string));
}

/** Each literal part is looked for once, behind the one before it: no pattern is slow. */
export function fitsSegment(pattern: string, value: string): boolean {
  const parts = pattern.split("*");
  const [first = "", last = ""] = [parts[0], parts.at(-1)];
  if (parts.length === 1) return pattern === value;
  if (value.length < first.length + last.length || !value.startsWith(first) || !value.endsWith(last)) return false;
  let rest = value.slice(first.length, value.length - last.length);
  for (const part of parts.slice(1, -1)) {
    const at = rest.indexOf(part);
    if (at < 0) return false;
    rest = rest.slice(at + part.length);
  }
  return true;
}
