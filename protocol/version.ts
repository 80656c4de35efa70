// Sortie's own version, as package.json has it.
import { readFileSync } from "node:fs";
import * as v from "valibot";

/** package.json is beside protocol/ in the sources, and beside dist/ in the package. */
export const version = v.parse(v.object({ version: v.string() }), JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))).version;
