import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { framesOf, nameAt } from "../../coordinator/recipe/location.ts";
import { type Job, type JobOptions, job, type Matrix, recipe, sh } from "../../coordinator/recipe/sdk.ts";
import { parseDuration } from "../../protocol/duration.ts";

describe("the sh template", () => {
  it("quotes every interpolation for a real shell", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({
            unit: fc.constantFrom("a", " ", "'", '"', "$", "`", "\\", "\n", "*", "~", ";", "é", "😀", "\t", "!", "#"),
          }),
          { minLength: 1, maxLength: 10 },
        ),
        (words) => {
          const { text } = sh`printf '%s\0' ${words}`;
          const { stdout } = spawnSync("/bin/sh", ["-c", text], { encoding: "utf8" });
          expect(stdout.split("\0").slice(0, -1)).toEqual(words);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("makes a word of what looks like a keyword, an assignment or a file descriptor", () => {
    const said = (text: string): string => spawnSync("/bin/sh", ["-c", text], { encoding: "utf8" }).stdout;
    expect(said(sh`echo ${2}>&1`.text)).toBe("2\n");
    expect(said(sh`${"A=1"} 2>/dev/null || echo "no command A=1"`.text)).toBe("no command A=1\n");
    expect(said(sh`${"if"} 2>/dev/null || echo "no command if"`.text)).toBe("no command if\n");
    expect(said(sh`echo a${"b c"}d; echo "$(echo ${"e  f"})"; echo none ${[]} left`.text)).toBe(
      "ab cd\ne  f\nnone left\n",
    );
  });

  it("takes nothing into a command that is no word", () => {
    for (const value of [undefined, null, {}, () => {}, [["a"]], [undefined], Symbol("a"), "a\0b", Number.NaN, sh`a`])
      expect(() => sh`echo ${value as never}`).toThrow(TypeError);
    // biome-ignore lint/suspicious/noSparseArray: a hole is no word either
    expect(() => sh`echo ${["a", , "b"] as never}`).toThrow(TypeError);
    expect(() => sh` `).toThrow(/empty/);
  });

  it("refuses an interpolation where no word can be quoted, and says where", () => {
    const x = "x";
    expect(() => sh`echo "${x}"`).toThrow(/within double quotes/);
    expect(() => sh`echo 'a ${x}'`).toThrow(/within single quotes/);
    expect(() => sh`echo $((${x} + 1))`).toThrow(/arithmetic/);
    // Where that ends, or whether it is one, is for each shell to say.
    for (const text of ["$((a) ) ", "$(( ' )) ' )) ", "$((`a`)) ", '"$[ " ', "((a)); "])
      expect(() => sh(Object.assign([text, ""], { raw: [text, ""] }), x), text).toThrow(/arithmetic|backticks/);
    expect(() => sh`echo $${x}`).toThrow(/string/);
    expect(() => sh`a[${x}]=1`).toThrow(/brackets/);
    expect(sh`ls a[0-9]b[$n] ${x}`.text).toBe("ls a[0-9]b[$n] 'x'");
    expect(() => sh`true # ${x}`).toThrow(/comment/);
    expect(
      () => sh`cat <<END
a ${x}
END`,
    ).toThrow(/here-document/);
    expect(() => sh`echo "$(case a in a) echo "${x}";; esac)"`).toThrow(/case/);
    expect(() => sh`echo $'it\'s' ${x}`).toThrow(/string/);
  });

  it("takes an interpolation wherever a word can stand", () => {
    const x = "x";
    expect(sh`echo "a b" 'c d' ${x} it\'s ${x} \# ${x}#${x}`.text).toContain("'x'#'x'");
    expect(sh`echo "$(cat ${x} "$(echo ${x})")" ${x}`.text).toContain("cat 'x'");
    expect(
      sh`true # don't "mind"
      echo ${x}`.text,
    ).toContain("echo 'x'");
    expect(sh`echo $((1 << (2 + 1))) ${x}; cat <${x} > ${x}`.text).toContain("))) 'x'");
  });

  it("lets no interpolation be run, whatever stands around it", () => {
    const folder = mkdtempSync(join(tmpdir(), "sortie-test-"));
    try {
      const part = fc
        .array(
          fc.constantFrom(
            ...[
              '"',
              "'",
              "\\",
              "#",
              " ",
              "$(",
              "(",
              ")",
              "$((",
              "))",
              "a",
              "\n",
              "echo ",
              ": ",
              "<<E\n",
              "<<-E",
              "\nE\n",
            ],
            ...["$", "\\`", ";", "&& ", "case a in a) ", "esac", "{ ", "}\n", "| cat ", "<", "<<< a", '"$(', "$'", "E"],
            ...["$((1+", "1", "((", "$a", "$[", "]", "[ ", "! ", "a[", "]=1"],
          ),
          { maxLength: 8 },
        )
        .map((tokens) => tokens.join(""));
      const word = fc.constantFrom(
        ...[
          "$(: >ran)",
          "`: >ran`",
          "'; : >ran; '",
          '"; : >ran; "',
          "\n: >ran\n",
          "\nE\n: >ran\n",
          "); : >ran; (",
          "\\'\n: >ran\n#",
          "a",
        ],
      );
      const shells = [["/bin/sh"], ["bash", "--posix"], ["busybox", "sh"]].filter(
        ([program = "", ...args]) => spawnSync(program, [...args, "-c", "exit 7"]).status === 7,
      );
      let accepted = 0;
      fc.assert(
        fc.property(
          fc.array(part, { minLength: 2, maxLength: 4 }),
          fc.array(word, { minLength: 3 }),
          (parts, words) => {
            const values = words.slice(0, parts.length - 1);
            let text: string;
            try {
              ({ text } = sh(Object.assign([...parts], { raw: parts }), ...values));
            } catch {
              return;
            }
            accepted++;
            rmSync(join(folder, "ran"), { force: true });
            // What is /bin/sh elsewhere: Debian, the distributions of bash, and Alpine.
            const [program, ...args] = shells[accepted % shells.length] ?? [];
            spawnSync(program ?? "", [...args, "-c", text], { cwd: folder, stdio: "ignore", timeout: 10_000 });
            expect({ text, ran: existsSync(join(folder, "ran")) }).toEqual({ text, ran: false });
          },
        ),
        { numRuns: 1_500 },
      );
      expect(accepted).toBeGreaterThan(100);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("the recipe SDK", () => {
  it("reads durations, and nothing that is none", () => {
    expect(["90s", "10m", "1h30m", "500ms", "1.5s", 250, "2d"].map(parseDuration)).toEqual([
      90_000, 600_000, 5_400_000, 500, 1_500, 250, 172_800_000,
    ]);
    for (const wrong of ["", "10", "m", "10 m", "-1s", -1, Number.NaN, "99999d", {}, null])
      expect(parseDuration(wrong)).toBeUndefined();
  });

  it("makes values that cannot be changed, whatever becomes of what they were made of", () => {
    const env: Record<string, string> = { A: "1" };
    const run: [string, ...string[]] = ["echo", "a"];
    const one = job({ run, env });
    expect(Object.isFrozen(one) && Object.isFrozen(one.options)).toBe(true);
    env["A"] = "2";
    run.push("b");
    expect(one.options).toEqual({ run: ["echo", "a"], env: { A: "1" } });
    expect(() => {
      (recipe({ one }).jobs as Record<string, Job>)["two"] = one;
    }).toThrow(TypeError);
  });

  it("knows where a job was written", () => {
    const one = job({ run: "true" });
    expect(one.location?.file).toBe(import.meta.filename);
    expect(JSON.stringify(one)).not.toContain("location");
  });

  it("finds the place in a stack, also where the path holds spaces and parentheses", () => {
    const frames = framesOf(
      [
        "Error: at first",
        "    at node:internal/modules/esm/loader:650:26",
        "    at job (file:///home/a%20(b)/%C3%A9.ts?tsx-namespace=1:2:3)",
        "    at async <anonymous> (/home/a (b)/c.ts:4:5)",
        "    at async file:///home/d.ts:6:7",
        "    at new Job (/home/e.ts:8:9)",
      ].join("\n"),
    );
    expect(frames.map(({ file, line, column }) => `${file} ${line} ${column}`)).toEqual([
      "/home/a (b)/é.ts 2 3",
      "/home/a (b)/c.ts 4 5",
      "/home/d.ts 6 7",
      "/home/e.ts 8 9",
    ]);
  });

  it("knows what a job is called where it is made", () => {
    const named = (source: string): string | undefined =>
      nameAt(source, { file: "", line: 1, column: source.indexOf("job(") + 1 });
    expect(
      [
        "const build = job({",
        "export const build: Job = job({",
        "recipe({ build: job({",
        '  "build": job({',
        "[job({",
        "a(job({",
      ].map(named),
    ).toEqual(["build", "build", "build", "build", undefined, undefined]);
  });

  it("says which option is wrong, and what it wants", () => {
    const of = (options: unknown) => () => job(options as never);
    const good = { run: "true" };
    expect(of(undefined)).toThrow(/object of options/);
    expect(of({ ...good, tiemout: 1 })).toThrow(/no option "tiemout"; did you mean timeout\?/);
    expect(of({ ...good, colour: 1 })).toThrow(/no option "colour"; it has run, needs/);
    expect(of({ run: [] })).toThrow(/empty list/);
    expect(of({ run: " " })).toThrow(/empty command/);
    expect(of({ run: ["npm ci", "npm test"] })).toThrow(/A list of strings is argv/);
    expect(of({ run: ["sleep", 3] })).toThrow(/number 2 of run is 3/);
    expect(of({ run: ["npm ci", ["npm", "test"]] })).toThrow(/Step 1 of run .* write sh`npm ci`/);
    expect(of({ run: [sh`a`, []] })).toThrow(/Step 2 of run/);
    expect(of({ ...good, needs: "build" })).toThrow(/needs must be a list/);
    expect(of({ ...good, needs: [undefined] })).toThrow(/number 1 is undefined: is that job made further down/);
    expect(of({ ...good, needs: ["build"] })).toThrow(/number 1 is "build"/);
    expect(of({ ...good, on: "linux" })).toThrow(/on must be an object/);
    expect(of({ ...good, env: { A: 1 } })).toThrow(/env\.A must be a string, not number/);
    expect(of({ ...good, cwd: "src" })).toThrow(/absolute path, not "src"/);
    expect(of({ ...good, timeout: "soon" })).toThrow(/timeout must be .* not "soon"/);
    expect(of({ ...good, timeout: 0 })).toThrow(/at least a millisecond/);
    expect(of({ ...good, allowFailure: "yes" })).toThrow(/allowFailure must be true or false, not "yes"/);
    expect(of({ ...good, always: 1 })).toThrow(/always must be true or false, not 1/);
    expect(of({ ...good, priority: "high" })).toThrow(/priority must be a number, not "high"/);
    for (const slots of [0, 1.5, 10_001, "2"])
      expect(of({ ...good, slots })).toThrow(/slots must be a whole number from 1/);
    expect(of({ ...good, alwyas: true })).toThrow(/did you mean always\?/);
    expect(of({ ...good, grace: 10n })).toThrow(/grace must be .* not bigint/);
    // Whoever has a program with a space in its name says so by a list of its own.
    expect(of({ run: [["/opt/My App/run", "x"]] })).not.toThrow();
  });

  it("has types that refuse what it would refuse", () => {
    const one = job({ run: "true" });
    expectTypeOf(one).toEqualTypeOf<Job<undefined>>();
    expectTypeOf<JobOptions>().toHaveProperty("needs").toEqualTypeOf<readonly (Job | Matrix)[] | undefined>();
    // @ts-expect-error needs are jobs, not their names
    expect(() => job({ run: "true", needs: ["one"] })).toThrow(/list of jobs/);
    // @ts-expect-error there is no such option
    expect(() => job({ run: "true", tiemout: 1 })).toThrow(/no option "tiemout"/);
    // @ts-expect-error run is needed
    expect(() => job({})).toThrow(/run must be/);
    // @ts-expect-error a label is a string
    expect(() => job({ run: "true", on: { gpu: 1 } })).toThrow(/on\.gpu/);
    // @ts-expect-error a recipe holds jobs
    expect(() => recipe({ one: "true" })).toThrow(/not a job/);
    // @ts-expect-error an object is no word
    expect(() => sh`${{}}`).toThrow(TypeError);
    // @ts-expect-error a step is argv or a template, for a string could be either
    expect(() => job({ run: [["npm", "ci"], "npm test"] })).toThrow(/Step 2/);
  });
});
