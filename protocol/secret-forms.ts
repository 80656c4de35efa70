// The forms in which a secret is looked for: as it is, line by line, and in the encodings that programs print it in. Pure.
// redact.ts looks for them; docs/secrets.md says what is not among them.
import { limits } from "./limits.ts";

/**
 * All of them, none shorter than a secret may be. What stands around a secret, and what an encoding makes of its neighbours, is
 * no part of a form. Of a secret that is too short there are none.
 */
export const formsOf = (secret: string): Set<string> => new Set(eachForm(secret));

/** The same, some of them more than once: there may be very many. */
export function* eachForm(secret: string): Generator<string, void> {
  const whole = secret.trim();
  if (whole.length < limits.secretMinimumCharacters) return;
  const lines = whole.split(/[\r\n]+/).map((line) => line.trim());
  const texts = [whole, ...lines.filter((line) => line.length >= limits.secretLineCharacters)];
  for (const text of new Set(texts)) for (const encode of encodings) yield* encode(text);
}

type Encoding = (text: string) => readonly string[];

const encodings: readonly Encoding[] = [asItIs, json, url, shell, xml, hex, base64];

function asItIs(text: string): string[] {
  // A terminal, and much of the web, end lines with both.
  return text.includes("\n") ? [text, text.replaceAll(/\r?\n/g, "\r\n")] : [text];
}

function json(text: string): string[] {
  const plain = JSON.stringify(text).slice(1, -1);
  const unicode = (characters: RegExp, upper: boolean) => (escaped: string) =>
    escaped.replaceAll(characters, (one) => {
      const code = one.charCodeAt(0).toString(16).padStart(4, "0");
      return `\\u${upper ? code.toUpperCase() : code}`;
    });
  const all = [false, true].flatMap((upper) => [
    unicode(/[\u007f-\uffff]/g, upper)(plain),
    // As Go does by default, and what is to stand within HTML.
    unicode(/[<>&]/g, upper)(plain),
    unicode(/[<>&'\u007f-\uffff]/g, upper)(plain),
  ]);
  const escaped = [plain, ...all];
  return [...escaped, ...escaped.map((one) => one.replaceAll("/", "\\/"))];
}

/** What programs leave as it is, beside letters, digits and -_. */
const KEPT = [
  // encodeURIComponent; RFC 3986; forms of browsers; forms of others.
  ...["!'()*~", "~", "*", ""],
  // Python's quote; paths and whole addresses.
  ...["/", "~/", "!'()*~/", "!$&'()*+,/:;=@~", "!#$&'()*+,/:;=?@~"],
];

function url(text: string): string[] {
  const bytes = [...Buffer.from(text)];
  return KEPT.flatMap((kept) => {
    const upper = bytes.map((byte) => {
      const one = String.fromCharCode(byte);
      return /[\w.-]/.test(one) || kept.includes(one) ? one : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    });
    const lower = upper.map((one) => (one.length === 3 ? one.toLowerCase() : one));
    return [upper, lower].flatMap((one) => [one.join(""), one.map((part) => (part === "%20" ? "+" : part)).join("")]);
  });
}

/** Within quotes of each kind, and without. */
function shell(text: string): string[] {
  return [
    text.replaceAll("'", "'\\''"),
    text.replaceAll("'", `'"'"'`),
    text.replaceAll(/["$`\\]/g, "\\$&"),
    text.replaceAll(/["$`\\!]/g, "\\$&"),
    text.replaceAll(/[^\w%+,./:=@\n-]/g, "\\$&"),
    text.replaceAll(/[^\w%+./:=@\n-]/g, "\\$&"),
    // $'…'
    text.replaceAll(/[\\']/g, "\\$&").replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r"),
  ];
}

function xml(text: string): string[] {
  const plain = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return [plain, plain.replaceAll('"', "&quot;"), plain.replaceAll('"', "&#34;")].flatMap((one) =>
    ["'", "&apos;", "&#39;", "&#x27;", "&#039;"].map((quote) => one.replaceAll("'", quote)),
  );
}

function hex(text: string): string[] {
  const lower = Buffer.from(text).toString("hex");
  return [lower, lower.toUpperCase()];
}

/** At each of the three places in a group of three bytes: what stands before and behind it has no part in these characters. */
function base64(text: string): string[] {
  const bytes = Buffer.from(text);
  const aligned = [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString("base64")
      .replaceAll("=", "");
    const bits = (before + bytes.length) * 8;
    return encoded.slice(Math.ceil((before * 8) / 6), Math.floor(bits / 6));
  });
  // Encoded by itself it is in lines: `base64` makes them 76 characters long, PEM 64.
  const [own = ""] = aligned;
  const wrapped = [64, 76].filter((columns) => own.length > columns).map((columns) => inLines(own, columns));
  const all = [...aligned, ...wrapped];
  return [...all, ...all.map((one) => one.replaceAll("+", "-").replaceAll("/", "_"))];
}

const inLines = (text: string, columns: number): string =>
  text.replaceAll(new RegExp(`.{${columns}}(?=.)`, "g"), "$&\n");
