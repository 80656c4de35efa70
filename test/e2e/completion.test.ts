// Completion in real shells, with the built commands in their PATH.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, root } from "../rig/rig.ts";

function pathWith(rig: Rig): string {
  const folder = join(rig.folder, "bin");
  mkdirSync(folder, { recursive: true });
  for (const name of ["coordinator", "runner"]) {
    writeFileSync(join(folder, name), `#!/bin/sh\nexec ${process.execPath} ${root}/dist/${name}.js "$@"\n`);
    chmodSync(join(folder, name), 0o755);
  }
  return `${folder}:${process.env["PATH"]}`;
}

const hasShell = (name: string): boolean => spawnSync(name, ["-c", "true"]).status === 0;

describe("completion", () => {
  it("completes commands, options and choices in bash, and leaves files to it", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      `import { writeFileSync } from "node:fs"; writeFileSync(${JSON.stringify(join(rig.folder, "ran"))}, "");`,
    );
    const ask = (line: string): string[] => {
      const command = line.split(" ")[0];
      // bash cuts words at COMP_WORDBREAKS before it calls the function.
      const words = line
        .split(/ |(=)/)
        .filter((word) => word !== undefined)
        .map((word) => `'${word}'`)
        .join(" ");
      const script = `eval "$(${command} completion bash)"; COMP_WORDS=(${words}); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 ))
        _${command}_completion; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const env = { PATH: pathWith(rig), HOME: rig.folder, SORTIE_HOME: rig.home };
      return execFileSync("bash", ["--norc", "-c", script], { encoding: "utf8", env }).trim().split("\n");
    };
    expect(ask("coordinator re")).toEqual(["resume"]);
    expect(ask("coordinator ")).toEqual(expect.arrayContaining(["run", "logs", "completion"]));
    expect(ask("coordinator run --fo")).toEqual(["--format"]);
    expect(ask("coordinator run --format j")).toEqual(["json"]);
    expect(ask(`coordinator run ${path} --format=j`)).toEqual(["json"]);
    expect(ask(`coordinator run ${path} `)).toEqual([""]);
    expect(ask("coordinator exec w1 -- r")).toEqual([""]);
    expect(ask("runner trust re")).toEqual(["revoke", "remove", "rename"]);
    // No recipe was run, and nothing was written.
    expect([existsSync(join(rig.folder, "ran")), existsSync(rig.home)]).toEqual([false, false]);
  });

  it("has the jobs of a recipe's last run, and runs, out of the record", async () => {
    await using rig = new Rig();
    const ran = join(rig.folder, "ran");
    const path = rig.recipe(
      `import { job, recipe } from "sortie"; import { appendFileSync } from "node:fs"; appendFileSync(${JSON.stringify(ran)}, "x");
      export default recipe({ build: job({ run: "true" }), bench: job({ run: "exit 3" }), test: job({ run: "true" }) });`,
    );
    const ask = async (...words: string[]): Promise<string[]> =>
      (await rig.coordinator(["--get-completions", ...words])).text.trim().split("\n");
    expect(await ask("run", path, "b")).toEqual([""]);
    expect((await rig.coordinator(["run", path])).code).toBe(1);
    expect(await ask("run", path, "b")).toEqual(["build\tpassed", "bench\tfailed"]);
    expect(await ask("run", path, "build", "t")).toEqual(["test\tpassed"]);
    expect(await ask("run", path, "--from", "be")).toEqual(["bench\tfailed"]);
    expect(await ask("run", path, "--skip=te")).toEqual(["--skip=test\tpassed"]);
    expect(await ask("run", path, "--on", "o")).toEqual([""]);
    expect(await ask("logs", "last/t")).toEqual(["last/test\tpassed"]);
    expect(await ask("logs", "last/test", "l")).toEqual([""]);
    const [last, run] = await ask("show", "");
    expect(last).toBe("last\tthe latest");
    expect(run).toMatch(/^\w{12}\t.*recipe\.ts, failed$/);
    expect(await ask("run", path, "--after", "la")).toEqual(["last\tthe latest"]);
    expect(await ask("cancel", "last/be")).toEqual(["last/bench\tfailed"]);
    // The recipe was run once, by `run`.
    expect(readFileSync(ran, "utf8")).toBe("x");
  });

  it("is there as soon as one types", async () => {
    await using rig = new Rig();
    const times: number[] = [];
    /** Of a Node that does nothing: what the machine is good for meanwhile. */
    const bare: number[] = [];
    for (let index = 0; index < 5; index++) {
      const began = performance.now();
      execFileSync(process.execPath, ["-e", ""]);
      const then = performance.now();
      expect((await rig.coordinator(["--get-completions", "run", "--fo"])).text).toMatch(/^--format\t/);
      times.push(performance.now() - then);
      bare.push(then - began);
    }
    expect(Math.min(...times)).toBeLessThan(Math.max(1_000, 20 * Math.min(...bare)));
  });

  if (hasShell("zsh"))
    it("is what zsh reads, with descriptions", async () => {
      await using rig = new Rig();
      const script = `autoload -Uz compinit; compinit -u -d ${rig.folder}/dump; eval "$(coordinator completion zsh)"
      _describe() { print -rl -- "\${(@P)2}" }; _files() { print files }
      words=(coordinator run --fo); CURRENT=3; _coordinator
      words=(coordinator run x); CURRENT=3; _coordinator
      print -- "\${_comps[coordinator]}"`;
      const env = { PATH: pathWith(rig), HOME: rig.folder, SORTIE_HOME: rig.home };
      const said = execFileSync("zsh", ["-f", "-c", script], { encoding: "utf8", env }).trim().split("\n");
      expect(said).toEqual([expect.stringMatching(/^--format:How the run is shown; auto\\:/), "files", "_coordinator"]);
    });

  if (hasShell("fish"))
    it("is what fish reads, with descriptions", async () => {
      await using rig = new Rig();
      const env = { PATH: pathWith(rig), HOME: rig.folder, SORTIE_HOME: rig.home };
      const ask = (line: string): string =>
        execFileSync("fish", ["--no-config", "-c", `coordinator completion fish | source; complete -C '${line}'`], {
          encoding: "utf8",
          env,
        });
      expect(ask("coordinator run --fo")).toMatch(/^--format\tHow the run/);
      expect(ask("coordinator res")).toBe("resume\tGo on with a run whose coordinator was killed\n");
    });

  it("is told what it was meant to be: commands and options", async () => {
    await using rig = new Rig();
    const option = await rig.coordinator(["run", "recipes/hello.ts", "--fromat", "json"]);
    expect(option.code).toBe(2);
    expect(option.stderr).toContain("hint: Did you mean --format?");
    for (const [typed, meant] of [
      ["--fom", "--from"],
      ["--wacth", "--watch"],
      ["--keep-goin", "--keep-going"],
      ["--aftr=last", "--after"],
    ] as const) {
      const { code, stderr } = await rig.coordinator(["run", "recipes/hello.ts", typed]);
      expect({ typed, code }).toEqual({ typed, code: 2 });
      expect(stderr).toContain(`hint: Did you mean ${meant}?`);
    }
    const command = await rig.coordinator(["rnu"]);
    expect(command.code).toBe(2);
    expect(command.stderr).toContain("Did you mean run?");
    expect((await rig.coordinator(["completion", "tcsh"])).code).toBe(2);
  });

  it("is not all: every command's --help has examples, of itself", async () => {
    await using rig = new Rig();
    for (const name of ["coordinator", "runner"] as const) {
      const help = async (...args: string[]): Promise<string> =>
        (name === "runner"
          ? await rig.runner([...args, "--help"], rig.home)
          : await rig.coordinator([...args, "--help"])
        ).text;
      const commands = [...(await help()).matchAll(new RegExp(`^  ${name} (\\w+)`, "gm"))].map(
        ([, command = ""]) => command,
      );
      expect(commands.length).toBeGreaterThan(4);
      for (const command of commands) {
        const [, examples = ""] = (await help(command)).split("Examples:");
        expect({ command, examples: examples.includes(`${name} ${command}`) }).toEqual({ command, examples: true });
      }
    }
  });
});
