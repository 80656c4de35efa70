// The cells of a matrix: every combination of its axes' values, each with the text that its job's name gets. matrix()
// calls it.
import { limits } from "../../protocol/limits.ts";
import { checkNames, isRecord, shown, type Wrong } from "./check.ts";

/** The values of one axis. */
export type AxisValue = string | number | boolean;

/** The axes of a matrix, each with its values. */
export type Axes = Readonly<Record<string, readonly AxisValue[]>>;

/** One value of each axis. */
export type Cell<Of extends Axes> = { readonly [Axis in keyof Of]: Of[Axis][number] };

/** What can stand between the brackets of a job's name, and is told from what separates there. */
const NAME = /^[A-Za-z0-9_.:-]+$/;

/** All cells but the excluded, the last axis changing first, each with its name, `node=24,os=linux`. */
export function cellsOf(
  axes: unknown,
  exclude: unknown,
  wrong: Wrong,
): { readonly name: string; readonly cell: Record<string, AxisValue> }[] {
  if (!isRecord(axes) || Object.keys(axes).length === 0)
    throw wrong("matrix() takes an object of axes, each with a list of values.");
  for (const [axis, values] of Object.entries(axes)) checkAxis(axis, values, wrong);
  const entries = Object.entries(axes as Axes);
  const count = entries.reduce((product, [, values]) => product * values.length, 1);
  if (count > limits.matrixCells)
    throw wrong(`The matrix has ${count} cells, and ${limits.matrixCells} are the most: take values or an axis away.`);
  const excluded = excludedOf(exclude, axes as Axes, wrong);
  let cells: Record<string, AxisValue>[] = [{}];
  for (const [axis, values] of entries)
    cells = cells.flatMap((cell) => values.map((value) => ({ ...cell, [axis]: value })));
  const left = cells.filter(
    (cell) => !excluded.some((one) => Object.keys(one).every((axis) => one[axis] === cell[axis])),
  );
  if (left.length === 0) throw wrong("The matrix has no cell left: exclude takes all of them away.");
  return left.map((cell) => ({
    name: Object.entries(cell)
      .map(([axis, value]) => `${axis}=${value}`)
      .join(","),
    cell: Object.freeze(cell),
  }));
}

function checkAxis(axis: string, values: unknown, wrong: Wrong): void {
  if (!/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(axis))
    throw wrong(`${JSON.stringify(axis)} cannot be an axis's name: letters, digits and _.-, a letter first.`);
  if (!Array.isArray(values) || values.length === 0) throw wrong(`The axis ${axis} must be a list of values.`);
  const seen = new Set<string>();
  for (const value of values) {
    if (!["string", "number", "boolean"].includes(typeof value))
      throw wrong(`The axis ${axis} takes strings, numbers and booleans, not ${shown(value)}.`);
    const text = String(value);
    if (!NAME.test(text))
      throw wrong(
        `The axis ${axis} has a value that cannot stand in a job's name: ${shown(value)}; letters, digits and _.:- can.`,
      );
    if (seen.has(text)) throw wrong(`The axis ${axis} has ${shown(value)} twice.`);
    seen.add(text);
  }
}

function excludedOf(exclude: unknown, axes: Axes, wrong: Wrong): Record<string, unknown>[] {
  if (exclude === undefined) return [];
  if (!Array.isArray(exclude)) throw wrong("exclude must be a list of objects, each with values of some axes.");
  return exclude.map((one: unknown, index) => {
    const what = `Number ${index + 1} of exclude`;
    if (!isRecord(one) || Object.keys(one).length === 0)
      throw wrong(`${what} must be an object with values of some axes.`);
    checkNames(what, one, Object.keys(axes), wrong, "axis");
    for (const [axis, value] of Object.entries(one))
      if (!axes[axis]?.includes(value as AxisValue))
        throw wrong(`${what} has ${axis} ${shown(value)}, which the axis has not.`);
    return one as Record<string, unknown>;
  });
}
