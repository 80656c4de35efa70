// What only a recipe's source shows: a syntax error with its place, and a name given twice in one object, of which
// JavaScript silently takes the last. The loader calls it before anything of the recipe runs.
import { extname } from "node:path";
import { SortieError } from "../../protocol/errors.ts";
import { oneLine } from "../../protocol/text.ts";

interface Place {
  readonly line: number;
  readonly column: number;
}

/** Rejects with RECIPE_SYNTAX, or RECIPE_INVALID for a name that stands twice. */
export async function checkSource(source: string, file: string): Promise<void> {
  // tsx needs esbuild anyway; asking it costs little.
  const { transform } = await import("esbuild");
  const loader = extname(file).endsWith("ts") ? "ts" : "js";
  const { warnings } = await transform(source, { loader, sourcefile: file, logLevel: "silent" }).catch(
    (error: unknown) => {
      const [first] = (error as { errors?: { text: string; location: Place | null }[] }).errors ?? [];
      if (!first) throw error;
      throw new SortieError("RECIPE_SYNTAX", `The recipe is not valid TypeScript: ${oneLine(first.text)}.`, {
        at: placeOf(first.location, file),
      });
    },
  );
  const double = warnings.find((warning) => warning.id === "duplicate-object-key");
  if (double)
    throw new SortieError(
      "RECIPE_INVALID",
      `${double.text.replace(/ in object literal$/, "")}: a name can stand only once.`,
      { at: placeOf(double.location, file) },
    );
}

const placeOf = (place: Place | null, file: string) => ({
  file,
  line: place?.line ?? 1,
  column: (place?.column ?? 0) + 1,
});
