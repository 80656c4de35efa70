// A mistake in a recipe, with the place in the person's own file. The loader makes a SortieError of it.
import type { Location } from "./location.ts";

const RECIPE_ERROR = Symbol.for("sortie.recipe-error");

export class RecipeError extends Error {
  override readonly name = "RecipeError";
  readonly [RECIPE_ERROR] = true;
  readonly location: Location | undefined;

  constructor(message: string, location: Location | undefined) {
    super(message);
    this.location = location;
  }
}

export const isRecipeError = (error: unknown): error is RecipeError => error instanceof Error && RECIPE_ERROR in error;
