// `matrix()`: describes a job for each combination of some values.
import { type Axes, type Cell, cellsOf } from "./cells.ts";
import { checkNames, isRecord, type Wrong } from "./check.ts";
import { isJob, type Job, type Matrix, matrixOf } from "./job.ts";
import { callSite } from "./location.ts";
import { RecipeError } from "./recipe-error.ts";

/** Options of a matrix. */
export interface MatrixOptions<Of extends Axes> {
  /**
   * Cells that get no job: those that have all values of one of these. Default: none.
   * @example exclude: [{ node: "24", os: "windows" }]
   */
  readonly exclude?: readonly { readonly [Axis in keyof Of]?: Of[Axis][number] }[];
}

/**
 * Describes a job for each combination of the axes' values, at most 1,000.
 * @example const test = matrix({ node: ["24", "26"] }, ({ node }) => job({ container: `node:${node}`, run: sh`npm test` }));
 */
export function matrix<const Of extends Axes, Output>(
  axes: Of,
  make: (cell: Cell<Of>) => Job<Output>,
  options: MatrixOptions<Of> = {},
): Matrix<Output> {
  const location = callSite(matrix);
  const wrong: Wrong = (message) => new RecipeError(message, location, "job");
  if (typeof make !== "function") throw wrong("matrix() takes a function that makes a job of a cell.");
  if (!isRecord(options)) throw wrong("matrix() takes an object of options.");
  checkNames("matrix()", options, ["exclude"], wrong);
  const jobs = cellsOf(axes, options.exclude, wrong).map(({ name, cell }) => {
    const made: unknown = make(cell as Cell<Of>);
    if (!isJob(made)) throw wrong(`The function of matrix() must give what job() gave, also for ${name}.`);
    return [name, made] as const;
  });
  return matrixOf(Object.fromEntries(jobs), location) as Matrix<Output>;
}
