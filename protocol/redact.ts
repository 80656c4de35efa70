// Takes secrets out of bytes and texts, in every form that secret-forms.ts knows, also where they come in pieces. A
// runner does it before its journal, a coordinator before everything that it shows or keeps. Pure.
//
// Patterns are found by an Aho-Corasick automaton. What is held back is exactly the longest end of the input that a pattern
// begins with: it comes out with the next byte that shows it to be none, or at the end, and never by time, since whoever
// writes slowly would get a secret out in parts. Every byte that any match covers is hidden.
import { setImmediate as others } from "node:timers/promises";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { eachForm } from "./secret-forms.ts";

/** What stands in place of a secret, or of several that overlap. */
export const MASK = "***";
const MASK_BYTES = Buffer.from(MASK);
const NOTHING = new Uint8Array(0);

export interface RedactedStream {
  /** What can be told of it so far; the very bytes that came where nothing of them is hidden or held back. */
  push(bytes: Uint8Array): Uint8Array;
  /** What was held back: it was no secret. */
  end(): Uint8Array;
}

export interface Redaction {
  /** For one stream of bytes. */
  stream(): RedactedStream;
  text(text: string): string;
  /** The same of every text in a value of JSON, keys too; a number that is a secret becomes a text. */
  value<Value>(value: Value): Value;
}

/** Undefined where there is nothing to hide: nobody pays for what is not there. */
export function redactionOf(secrets: Iterable<string>): Redaction | undefined {
  const building = build(secrets, Infinity);
  for (;;) {
    const { done, value } = building.next();
    if (done) return value;
  }
}

/** The same of what others ask for: the process does their work too meanwhile. Rejects with SECRET_INVALID where it is too much. */
export async function redactionOfOthers(secrets: Iterable<string>): Promise<Redaction | undefined> {
  const building = build(secrets, limits.secretFormsBytes);
  for (let since = performance.now(); ; ) {
    const { done, value } = building.next();
    if (done) return value;
    if (performance.now() - since < limits.secretSliceMs) continue;
    await others();
    since = performance.now();
  }
}

/** What is looked for of a secret, in bytes. */
export const formsBytes = (secret: string): number => sizeOf(new Set(eachForm(secret)));
const sizeOf = (forms: ReadonlySet<string>): number =>
  [...forms].reduce((sum, form) => sum + Buffer.byteLength(form), 0);

/** Yields as often as it may be left for a while. `most`: bytes of all that is looked for. */
function* build(secrets: Iterable<string>, most: number): Generator<undefined, Redaction | undefined> {
  const patterns = new Map<string, Uint8Array>();
  let bytes = 0;
  for (const secret of secrets)
    for (const form of eachForm(secret)) {
      yield;
      if (patterns.has(form)) continue;
      const pattern = Buffer.from(form);
      patterns.set(form, pattern);
      bytes += pattern.length;
      if (bytes > most)
        throw new SortieError(
          "SECRET_INVALID",
          "The job's secrets have too many lines or special characters to be hidden.",
        );
    }
  if (patterns.size === 0) return undefined;
  const automaton = yield* automatonOf([...patterns.values()]);
  const text = (whole: string): string => {
    const bytes = Buffer.from(whole);
    const one = redactStream(automaton);
    const shown = one.push(bytes);
    const rest = one.end();
    // What is whole stays as it is, with all that UTF-8 cannot say.
    if (shown === bytes || rest.length === bytes.length) return whole;
    const told = Buffer.concat([shown, rest]);
    return told.equals(bytes) ? whole : told.toString();
  };
  const value = (any: unknown): unknown => {
    if (typeof any === "string") return text(any);
    if (typeof any === "number" || typeof any === "bigint") return text(String(any)) === String(any) ? any : MASK;
    if (Array.isArray(any)) return any.map(value);
    if (typeof any !== "object" || any === null || ArrayBuffer.isView(any)) return any;
    return Object.fromEntries(Object.entries(any).map(([name, one]) => [text(name), value(one)]));
  };
  return {
    stream: () => redactStream(automaton),
    text,
    value: <Value>(any: Value) => value(any) as Value,
  };
}

/** A trie of the patterns with links to the longest end that is in it too. State 0 is its root. */
interface Automaton {
  /** The states behind the root, one a byte. */
  readonly root: Int32Array;
  /** Those behind each of these, by both bytes: there most steps end, and there may be very many. */
  readonly second: Int32Array;
  readonly child: Int32Array;
  readonly sibling: Int32Array;
  readonly byte: Uint8Array;
  readonly fail: Int32Array;
  readonly depth: Int32Array;
  /** Length of the longest pattern that ends here; 0: none. */
  readonly match: Int32Array;
  /** Length of the shortest pattern. */
  readonly shortest: number;
  /** How far from two bytes, the last of `shortest` ones, the next place is where a pattern may begin. */
  readonly skip: Uint8Array;
}

function* automatonOf(patterns: readonly Uint8Array[]): Generator<undefined, Automaton> {
  const states = patterns.reduce((sum, { length }) => sum + length, 1);
  const root = new Int32Array(256);
  const second = new Int32Array(65_536);
  const [child, sibling, fail, depth, match] = Array.from({ length: 5 }, () => new Int32Array(states)) as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const byte = new Uint8Array(states);
  let made = 1;
  for (const pattern of patterns) {
    yield;
    let state = 0;
    // By its index: an iterator of so many bytes takes longer than all else.
    for (let index = 0; index < pattern.length; index++) {
      const one = pattern[index] as number;
      let next = (state === 0 ? root[one] : childOf({ second, child, sibling, byte, depth }, state, one)) as number;
      if (next === 0) {
        next = made++;
        byte[next] = one;
        depth[next] = index + 1;
        if (state === 0) root[one] = next;
        else {
          sibling[next] = child[state] as number;
          child[state] = next;
          if (index === 1) second[((byte[state] as number) << 8) | one] = next;
        }
      }
      state = next;
    }
    match[state] = pattern.length;
  }
  const shortest = patterns.reduce((least, { length }) => Math.min(least, length), 255);
  const automaton = {
    root,
    second,
    child,
    sibling,
    byte,
    fail,
    depth,
    match,
    shortest,
    skip: skipsOf(patterns, shortest),
  };
  yield* link(automaton);
  return automaton;
}

/** That are made in a fraction of a millisecond. */
const LINKS = 1_024;

/** By breadth: a state's link is nearer to the root than itself. */
function* link(automaton: Automaton): Generator<undefined, void> {
  const { root, child, sibling, byte, fail, match } = automaton;
  const waiting = [...root].filter((state) => state !== 0);
  for (let at = 0; at < waiting.length; at++) {
    if (at % LINKS === 0) yield;
    const state = waiting[at] as number;
    for (let next = child[state] as number; next !== 0; next = sibling[next] as number) {
      fail[next] = step(automaton, fail[state] as number, byte[next] as number);
      if (match[next] === 0) match[next] = match[fail[next] as number] as number;
      waiting.push(next);
    }
  }
}

function childOf(
  { second, child, sibling, byte, depth }: Pick<Automaton, "second" | "child" | "sibling" | "byte" | "depth">,
  of: number,
  one: number,
): number {
  if (depth[of] === 1) return second[((byte[of] as number) << 8) | one] as number;
  let next = child[of] as number;
  while (next !== 0 && byte[next] !== one) next = sibling[next] as number;
  return next;
}

function step(automaton: Automaton, from: number, one: number): number {
  for (let state = from; state !== 0; state = automaton.fail[state] as number) {
    const next = childOf(automaton, state, one);
    if (next !== 0) return next;
  }
  return automaton.root[one] as number;
}

/** As Wu and Manber have it, for two bytes at a time: most of an output is passed over and not looked at. */
function skipsOf(patterns: readonly Uint8Array[], shortest: number): Uint8Array {
  const skip = new Uint8Array(65_536).fill(Math.max(1, shortest - 1));
  for (const pattern of patterns)
    for (let at = 1; at < shortest; at++) {
      const pair = ((pattern[at - 1] as number) << 8) | (pattern[at] as number);
      skip[pair] = Math.min(skip[pair] as number, shortest - 1 - at);
    }
  return skip;
}

/** Of the bytes that are looked at: from, and to before which. */
interface Covered {
  readonly from: number;
  readonly to: number;
}

function redactStream(automaton: Automaton): RedactedStream {
  const { root, depth, match, shortest, skip } = automaton;
  let held: Uint8Array = NOTHING;
  let state = 0;
  /** What is covered up to the first byte held back, or behind that; its mask was told already. */
  let open: Covered | undefined;
  /** Covered parts of what is held back, that do not begin with it. */
  let waiting: Covered[] = [];

  function push(bytes: Uint8Array): Uint8Array {
    if (bytes.length === 0) return bytes;
    const data = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    const found: Covered[] = open ? [open, ...waiting] : waiting;
    const end = data.length;
    for (let at = held.length; at < end; ) {
      if (state === 0) {
        if (at + shortest <= end) {
          const far = skip[((data[at + shortest - 2] as number) << 8) | (data[at + shortest - 1] as number)] as number;
          if (far > 0) {
            at += far;
            continue;
          }
        }
        state = root[data[at] as number] as number;
      } else state = step(automaton, state, data[at] as number);
      at++;
      const length = match[state] as number;
      if (length > 0) cover(found, at - length, at);
    }
    return tell(data, found, end - (depth[state] as number));
  }

  /** Tells what stands before `until`; the rest is held back. */
  function tell(data: Uint8Array, found: Covered[], until: number): Uint8Array {
    const wasOpen = open !== undefined;
    const parts: Uint8Array[] = [];
    let at = 0;
    open = undefined;
    waiting = [];
    for (const one of found) {
      if (one.from > until) {
        waiting.push({ from: one.from - until, to: one.to - until });
        continue;
      }
      if (one.from > at) parts.push(data.subarray(at, one.from));
      if (!(wasOpen && one === found[0])) parts.push(MASK_BYTES);
      at = Math.min(one.to, until);
      if (one.to >= until) open = { from: 0, to: one.to - until };
    }
    if (at < until) parts.push(data.subarray(at, until));
    // A copy: what it was cut from may be big, and may be another's.
    held = until === data.length ? NOTHING : Uint8Array.from(data.subarray(until));
    const [only = NOTHING] = parts;
    if (parts.length > 1) return Buffer.concat(parts);
    return only.length === data.length ? data : only;
  }

  return {
    push,
    end() {
      const found: Covered[] = open ? [open, ...waiting] : waiting;
      const rest = tell(held, found, held.length);
      state = 0;
      open = undefined;
      return rest;
    },
  };
}

/** Joins it with those before it that it touches. The first one may begin before all that is looked at, and stays first. */
function cover(found: Covered[], from: number, to: number): void {
  let first = from;
  let last = found.at(-1);
  while (last && last.to >= first) {
    first = Math.min(first, last.from);
    found.pop();
    last = found.at(-1);
  }
  found.push({ from: first, to });
}
