// Short codes for two people who can talk: `7-K3MP-9XQ2`, 40 random bits that a PAKE makes good enough, because whoever
// guesses has three tries. The issuer's record of the one that is alive; pair.ts asks it.
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import * as v from "valibot";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { stateFile } from "./state-file.ts";
import { GroupName, PeerText } from "./trust.ts";

/** What a person types, taken apart. */
export interface Code {
  /** Tells this code from the one before it, which costs no try then; not secret. */
  readonly number: number;
  /** Eight characters of Crockford's base32. */
  readonly secret: string;
}

/** Without I, L, O and U: https://www.crockford.com/base32.html */
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS = 8;
const NUMBERS = 9;

const Alive = v.strictObject({
  id: v.string(),
  number: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(NUMBERS)),
  /** As it is: 40 bits would be found from any hash of them at once, within the ten minutes that they are worth anything. */
  secret: v.string(),
  expiresAt: v.number(),
  wrongTries: v.number(),
  /** The peer that used it; the same one may ask again, where the answer was lost. */
  usedBy: v.nullable(PeerText),
  group: v.optional(GroupName),
});

/** What a pairing by code goes on with; for the issuer's eyes only. */
export type FoundCode =
  | { readonly id: string; readonly secret: string; readonly used: boolean; readonly group?: string | undefined }
  | { readonly refused: string };

export interface Codes {
  /** Makes the one code that is alive from now on, for at most ten minutes, and gives it as people write it. */
  issue(ttlMs?: number, group?: string): { readonly code: string; readonly expiresAt: number };
  /** Whether one lives that the peer may use. */
  openTo(peer: string): boolean;
  /** The code that is alive, if it has this number and the peer may use it; or why not. */
  find(number: number, peer: string): FoundCode;
  /**
   * Writes down what came of an attempt before anybody is told: used by the peer, or one of three tries gone. Gives why it
   * is refused all the same; `undefined` where it is the peer's now.
   */
  settle(id: string, peer: string, proven: boolean): string | undefined;
  /** The peer that used this code, as issue() gave it; `undefined` while nobody has, or where another took its place. */
  usedBy(code: string): string | undefined;
  /** Ends a code before its time. */
  withdraw(code: string): void;
}

const written = ({ number, secret }: Code): string => `${number}-${secret.slice(0, 4)}-${secret.slice(4)}`;

export function openCodes(folder: string, now: () => number = Date.now): Codes {
  const file = stateFile(join(folder, "code.json"), v.nullable(Alive), null);
  const refusal = (code: v.InferOutput<typeof Alive> | null, peer: string): string | undefined => {
    if (!code || code.expiresAt <= now()) return "no code is alive";
    if (code.wrongTries >= limits.codeTries) return "a code that is burned";
    return code.usedBy === null || code.usedBy === peer ? undefined : "a code that another peer used";
  };
  return {
    issue(ttlMs = limits.codeTtlMs, group) {
      const secret = [...randomBytes(CHARACTERS)].map((byte) => ALPHABET[byte % ALPHABET.length]).join("");
      const expiresAt = now() + Math.min(ttlMs, limits.codeTtlMs);
      let number = randomInt(NUMBERS) + 1;
      file.change((before) => {
        if (before) number = (before.number % NUMBERS) + 1;
        const id = randomBytes(8).toString("hex");
        const code = { id, number, secret, expiresAt, wrongTries: 0, usedBy: null };
        return group === undefined ? code : { ...code, group };
      });
      return { code: written({ number, secret }), expiresAt };
    },
    openTo: (peer) => refusal(file.read(), peer) === undefined,
    find(number, peer) {
      const code = file.read();
      const refused = refusal(code, peer);
      if (!code || refused !== undefined) return { refused: refused ?? "no code is alive" };
      if (code.number !== number) return { refused: "a code of another number" };
      return { id: code.id, secret: code.secret, used: code.usedBy !== null, group: code.group };
    },
    settle(id, peer, proven) {
      let refused: string | undefined = "a code that was replaced meanwhile";
      file.change((code) => {
        if (code?.id !== id) return code;
        // Of many attempts at once, no more than three are ever looked at.
        refused = refusal(code, peer);
        if (refused !== undefined) return code;
        if (proven) return { ...code, usedBy: peer };
        const wrongTries = code.wrongTries + 1;
        const left = limits.codeTries - wrongTries;
        refused = `a wrong code, or somebody sits in between; ${left > 0 ? `${left} of its tries left` : "the code is burned"}`;
        return { ...code, wrongTries };
      });
      return refused;
    },
    usedBy(code) {
      const alive = file.read();
      return alive && written(alive) === code ? (alive.usedBy ?? undefined) : undefined;
    },
    withdraw(code) {
      file.change((alive) => (alive && written(alive) === code ? null : alive));
    },
  };
}

/** Reads a code as a person types it: small letters, O for 0, I and L for 1, dashes or none. Throws USAGE, without the code. */
export function parseCode(text: string): Code {
  const plain = text.trim().toUpperCase().replace(/[\s-]/g, "").replaceAll("O", "0").replace(/[IL]/g, "1");
  const [, number = "", secret = ""] = /^([1-9])([0-9A-HJKMNP-TV-Z]{8})$/.exec(plain) ?? [];
  if (secret !== "") return { number: Number(number), secret };
  throw new SortieError("USAGE", "The code is none: it looks like 7-K3MP-9XQ2, a number and eight characters.", {
    hint: "`runner invite --code` and `coordinator invite --code` print one.",
  });
}
