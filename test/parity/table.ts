// The table of docs/backends.md: a row for each case of the parity suite, a column for each backend.
import { type BackendName, cases } from "./cases.ts";

const BACKENDS: readonly BackendName[] = ["local", "container", "ssh"];
const BEGIN = "<!-- made by `npm run parity` -->";
const END = "<!-- end -->";

export function readColumn(page: string, backend: BackendName): Map<string, string> {
  return new Map(rowsOf(page).map(([title = "", ...cells]) => [title, cells[BACKENDS.indexOf(backend)] ?? ""]));
}

/** The page with this column as it is now, and a row for each case. */
export function writeColumn(page: string, backend: BackendName, column: ReadonlyMap<string, string>): string {
  const before = new Map(rowsOf(page).map(([title = "", ...cells]) => [title, cells]));
  const rows = cases.map(({ title }) => {
    const cells = BACKENDS.map((one, at) =>
      one === backend ? (column.get(title) ?? "") : (before.get(title)?.[at] ?? ""),
    );
    return [title, ...cells];
  });
  const lines = [["a job has", ...BACKENDS], ["---", "---", "---", "---"], ...rows].map(
    (cells) => `| ${cells.join(" | ")} |`,
  );
  const [head = "", rest = ""] = split(page, BEGIN);
  return `${head}${BEGIN}\n\n${lines.join("\n")}\n\n${END}${split(rest, END)[1]}`;
}

function rowsOf(page: string): string[][] {
  const table = split(split(page, BEGIN)[1] ?? "", END)[0] ?? "";
  return table
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .slice(2)
    .map((line) => line.slice(2, -2).split(" | "));
}

function split(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  if (at === -1) throw new Error(`docs/backends.md has no ${mark}`);
  return [text.slice(0, at), text.slice(at + mark.length)];
}
