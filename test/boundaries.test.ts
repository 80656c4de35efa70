import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const rooms = new Map(
  [...readFileSync(join(root, "docs/architecture.md"), "utf8").matchAll(/^\| `([\w/]+)` +\|[^|]+\|([^|]*)\|$/gm)].map(
    ([, room = "", may = ""]) => [room, new Set([...may.matchAll(/`([\w/]+)`/g)].map(([, name]) => name))],
  ),
);

const sources = ["protocol", "runner", "coordinator", "recipes", "scripts"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name)),
);

/** Whatever a file imports, types and lazy imports too. */
const importsOf = (file: string): string[] =>
  [
    ...readFileSync(join(root, file), "utf8")
      .replace(/^ *(\/\/|\/?\*).*$/gm, "")
      .matchAll(/(?:from|import\()\s*"([^"]+)"|^import "([^"]+)"/gm),
  ].map(([, named, bare]) => (named ?? bare) as string);

const resolved = (file: string, specifier: string): string =>
  specifier.startsWith(".") ? relative(root, join(root, dirname(file), specifier)) : specifier;

const roomOf = (file: string): string =>
  [...rooms.keys()].filter((room) => file.startsWith(`${room}/`)).sort((a, b) => b.length - a.length)[0] ?? "";

describe("the house", () => {
  it("has a table that names every room", () => {
    expect(rooms.size).toBeGreaterThan(7);
    expect(sources.filter((file) => roomOf(file) === "")).toEqual([]);
  });

  it("is built as its table says: nobody imports what he may not", () => {
    const wrong: string[] = [];
    for (const file of sources) {
      for (const specifier of importsOf(file)) {
        const target = resolved(file, specifier);
        const to = specifier.startsWith(".") ? roomOf(target) : specifier === "sortie" ? "sortie" : "";
        // The package's own description is nobody's room; what else lies outside of them is nobody's to import.
        const isPackage = !specifier.startsWith(".") || target === "package.json";
        if ((to === "" && isPackage) || to === roomOf(file) || rooms.get(roomOf(file))?.has(to)) continue;
        if (["coordinator/fleet.ts", "coordinator/runner-flags.ts"].includes(file) && to.startsWith("runner")) continue;
        wrong.push(`${file} -> ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("lets few files know libp2p, and one a stream of it", () => {
    const users = sources.filter((file) =>
      importsOf(file).some((name) => /^(@libp2p\/|libp2p$|@multiformats\/)/.test(name)),
    );
    expect(users.sort()).toEqual([
      "protocol/bounded-frames.ts",
      "protocol/gater.ts",
      "protocol/identity.ts",
      "protocol/invite.ts",
      "protocol/libp2p-channel.ts",
      "protocol/libp2p-node.ts",
      "protocol/muxer.ts",
      "protocol/node.ts",
      "protocol/silence.ts",
      "protocol/stream-count.ts",
      "protocol/turns.ts",
    ]);
    const middleware = sources.filter((file) => /\bnode\.use\(/.test(readFileSync(join(root, file), "utf8")));
    expect(middleware).toEqual([]);
  });

  it("has no import cycles", () => {
    const graph = new Map(
      sources.map((file) => [
        file,
        importsOf(file)
          .filter((name) => name.startsWith("."))
          .map((name) => resolved(file, name)),
      ]),
    );
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      if (done.has(file) || path.includes(file)) return;
      for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of sources) visit(file, []);
    expect(cycles).toEqual([]);
  });

  it("uses every dependency that it names", () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      dependencies: Record<string, string>;
    };
    const used = new Set(
      sources.flatMap(importsOf).map((name) =>
        name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/"),
      ),
    );
    expect(Object.keys(dependencies).filter((name) => !used.has(name))).toEqual([]);
  });
});
