// Values of a recipe know where they were made. job(), matrix() and recipe() use it.
import type { Location } from "./location.ts";

/** Kept out of sight when the value is printed. */
export function withLocation<T extends object>(
  value: T,
  location: Location | undefined,
): T & { readonly location: Location | undefined } {
  Object.defineProperty(value, "location", { value: location, enumerable: false });
  return Object.freeze(value) as T & { readonly location: Location | undefined };
}
