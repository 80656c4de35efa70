// Secrets in streams: hidden however they are encoded and cut into pieces, and nothing else touched.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Redaction, redactionOf } from "../../protocol/redact.ts";
import { formsOf } from "../../protocol/secret-forms.ts";

const hidden = (redaction: Redaction | undefined, pieces: readonly Uint8Array[]): Buffer => {
  const stream = redaction?.stream();
  if (!stream) return Buffer.concat(pieces);
  return Buffer.concat([...pieces.map((piece) => Buffer.from(stream.push(piece))), stream.end()]);
};
const cut = (bytes: Uint8Array, places: readonly number[]): Uint8Array[] => {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((to, index) => bytes.subarray(at[index], to));
};

/** What programs make of a text, each written down here a second time, in another way. */
const asPrograms: Record<string, (text: string, noise: Buffer) => Buffer> = {
  plain: (text) => Buffer.from(text),
  json: (text) => Buffer.from(JSON.stringify({ a: text })),
  ascii: (text) =>
    Buffer.from(
      JSON.stringify(text).replace(
        /[\u0080-\uffff]/g,
        (one) => `\\u${`000${one.charCodeAt(0).toString(16)}`.slice(-4)}`,
      ),
    ),
  form: (text) => Buffer.from(String(new URLSearchParams({ a: text }))),
  url: (text) => Buffer.from(encodeURIComponent(text).replace(/%../g, (byte) => byte.toLowerCase())),
  quotes: (text) => Buffer.from(`'${text.split("'").join("'\\''")}'`),
  xml: (text) =>
    Buffer.from(
      [...text]
        .map((one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" })[one] ?? one)
        .join(""),
    ),
  hex: (text) => Buffer.from(Buffer.from(text).toString("hex")),
  upper: (text) => Buffer.from(Buffer.from(text).toString("hex").toUpperCase()),
  lines: (text) => Buffer.from(`> ${text.split("\n").join("\r\n> ")}`),
  base64: (text, noise) => Buffer.from(Buffer.concat([noise, Buffer.from(text), noise]).toString("base64")),
  base64url: (text, noise) => Buffer.from(Buffer.concat([noise, Buffer.from(text), noise]).toString("base64url")),
};

const lineOfSecret = fc
  .string({ unit: "grapheme-ascii", minLength: 12, maxLength: 40 })
  .filter((line) => line.trim().length >= 10);
const secret = fc
  .oneof(
    { weight: 3, arbitrary: lineOfSecret },
    {
      weight: 1,
      arbitrary: fc
        .string({ unit: "grapheme", minLength: 12, maxLength: 30 })
        .filter((line) => line.trim().length >= 10 && !/\s/.test(line)),
    },
    { weight: 2, arbitrary: fc.array(lineOfSecret, { minLength: 2, maxLength: 4 }).map((lines) => lines.join("\n")) },
    { weight: 1, arbitrary: fc.stringMatching(/^[ab]{10,20}$/) },
  )
  .filter((one) => one.isWellFormed());
const noise = fc.uint8Array({ maxLength: 5 }).map((bytes) => Buffer.from(bytes));

describe("a secret in a stream", () => {
  it("is never in what comes out, whatever a program makes of it, however it is cut", { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(secret, noise, noise, fc.array(fc.nat(500), { maxLength: 12 }), (value, before, after, places) => {
        const redaction = redactionOf([value]);
        const forms = [...formsOf(value)];
        for (const encode of Object.values(asPrograms)) {
          const whole = Buffer.concat([before, encode(value, before), after]);
          const out = hidden(redaction, cut(whole, places));
          expect(out.includes("***")).toBe(true);
          for (const form of forms) expect(out.includes(form)).toBe(false);
          // In one piece, byte by byte, or as it came: the same.
          expect(out.equals(hidden(redaction, [whole]))).toBe(true);
          expect(
            out.equals(
              hidden(
                redaction,
                [...whole].map((byte) => Uint8Array.of(byte)),
              ),
            ),
          ).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("leaves a text in which it is not as it is, byte for byte", () => {
    const near = fc.tuple(secret, fc.nat(100)).map(([value, most]) => Buffer.from(value).subarray(0, most));
    fc.assert(
      fc.property(
        fc.array(secret, { minLength: 1, maxLength: 3 }),
        fc.array(fc.oneof(noise, near), { maxLength: 20 }).map((parts) => Buffer.concat(parts)),
        fc.array(fc.nat(500), { maxLength: 12 }),
        (secrets, whole, places) => {
          const forms = secrets.flatMap((one) => [...formsOf(one)]);
          fc.pre(!forms.some((form) => whole.includes(form)));
          expect(hidden(redactionOf(secrets), cut(whole, places)).equals(whole)).toBe(true);
        },
      ),
      { numRuns: 800 },
    );
  });

  it("hides what several cover together, and tells what stands around it", () => {
    // A plain search, a byte at a time, of what any of them covers.
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[ab]{6,9}$/), { minLength: 1, maxLength: 4 }),
        fc.stringMatching(/^[ab]{0,60}$/),
        fc.array(fc.nat(60), { maxLength: 8 }),
        (secrets, text, places) => {
          const covered = [...text].map(() => false);
          for (const one of secrets)
            for (let at = text.indexOf(one); at >= 0; at = text.indexOf(one, at + 1))
              covered.fill(true, at, at + one.length);
          const parts = [...text].map((letter, at) => (covered[at] ? "*" : letter)).join("");
          // What touches without a part in common is one, too.
          expect(hidden(redactionOf(secrets), cut(Buffer.from(text), places)).toString()).toBe(
            parts.replace(/\*+/g, "***"),
          );
        },
      ),
      { numRuns: 2_500 },
    );
  });

  it("holds back what it begins with and nothing else, and tells its mask at once", () => {
    const stream = redactionOf(["secret-word"])?.stream();
    const push = (text: string): string => Buffer.from(stream?.push(Buffer.from(text)) ?? []).toString();
    expect(push("Password: ")).toBe("Password: ");
    expect(push("is it sec")).toBe("is it ");
    expect(push("t?")).toBe("sect?");
    expect(push("secret-wor")).toBe("");
    expect(push("d")).toBe("***");
    expect(push("secret-")).toBe("");
    expect(Buffer.from(stream?.end() ?? []).toString()).toBe("secret-");
  });

  it("costs no copy where it is not", () => {
    const bytes = Buffer.from("nothing of the kind in here\n");
    expect(redactionOf(["secret-word"])?.stream().push(bytes)).toBe(bytes);
    expect(redactionOf([])).toBeUndefined();
    expect(redactionOf(["short"])).toBeUndefined();
  });
});

describe("a secret in a value", () => {
  it("is hidden in texts, names and numbers, and the rest stays", () => {
    const redaction = redactionOf(["secret-word", "123456"]);
    const value = { "x secret-word": [1, "a secret-word b"], n: 123456, none: null, half: "\ud800", yes: true };
    expect(redaction?.value(value)).toEqual({
      "x ***": [1, "a *** b"],
      n: "***",
      none: null,
      half: "\ud800",
      yes: true,
    });
  });
});

it("base64 that is broken into lines as `base64` and PEM do it is found, too", () => {
  const value = "k".repeat(70) + "x-y-z".repeat(30);
  for (const columns of [64, 76]) {
    const lines =
      Buffer.from(value)
        .toString("base64")
        .match(new RegExp(`.{1,${columns}}`, "g")) ?? [];
    expect(lines.length).toBeGreaterThan(2);
    const out = hidden(redactionOf([value]), [Buffer.from(`${lines.join("\n")}\n`)]).toString();
    // Of the last group of characters a part may be the neighbour's.
    expect(out).toMatch(/^\*\*\*.{0,4}\n$/);
  }
});
