// The name of a keeper's folder among others of the same engine or host: what one made, no other takes away.
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

const Owner = v.pipe(v.string(), v.uuid());

/** Made with the folder's first keeper. */
export function ownerOf(folder: string): string {
  const path = join(folder, "owner");
  try {
    return v.parse(Owner, readFileSync(path, "latin1"));
  } catch {
    const owner = randomUUID();
    try {
      writeFileSync(path, owner, { mode: 0o600 });
    } catch {
      // A full disk: what this keeper makes is found by its attempts' marks only while this one lives.
    }
    return owner;
  }
}
