// A mistake in a recipe, with the place in the person's own file. The loader makes a SortieError of it.
import type { Location } from "./location.ts";

const RECIPE_ERROR = Symbol.for("sortie.recipe-error");

export class RecipeError extends Error {
  override readonly name = "RecipeError";
  readonly [RECIPE_ERROR] = true;
  readonly location: Location | undefined;
  /** What was being made at the location. */
  readonly making: "job" | "recipe";

  constructor(message: string, location: Location | undefined, making: "job" | "recipe") {
    super(message);
    this.location = location;
    this.making = making;
  }
}

export const isRecipeError = (error: unknown): error is RecipeError => error instanceof Error && RECIPE_ERROR in error;
