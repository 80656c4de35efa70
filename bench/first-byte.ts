// From the start of the process to the first byte that `echo hello` writes, and to the end of the process: a recipe's only
// job on the embedded runner, against the same command in zx. zx starts the command and no more; Sortie has it on record
// first, and in a journal.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, root } from "./rig.ts";

const ROUNDS = 25;
/** As plain lines show it, and as it is. */
const FIRST_BYTE = /^(?:hello │ )?hello$/m;

const RECIPE = `import { job, recipe } from "sortie";
export default recipe({ hello: job({ run: "echo hello" }) });
`;
const SCRIPT = "await $`echo hello`.pipe(process.stdout);\n";

interface Times {
  /** Milliseconds from before the process is started. */
  readonly first: number;
  readonly whole: number;
}

type Measure = () => Promise<Times>;

/** Gives each line once it is measured. */
export async function* firstByte(): AsyncGenerator<[name: string, text: string]> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-first-byte-"));
  const put = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  try {
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(root, join(folder, "node_modules", "sortie"));
    put("package.json", '{ "type": "module" }');
    const recipe = { js: put("recipe.mjs", RECIPE), ts: put("recipe.ts", RECIPE), tsx: put("tsx.ts", enumIn(RECIPE)) };
    const script = { js: put("script.mjs", SCRIPT), ts: put("script.ts", SCRIPT) };
    const home = (name: string) => ({ SORTIE_HOME: join(folder, name), XDG_CACHE_HOME: join(folder, `${name}-cache`) });
    const sortie = (path: string): Measure => {
      return () => timed([join(root, "dist/coordinator.js"), "run", path], home("warm"));
    };
    const sandboxed: Measure = () =>
      timed([join(root, "dist/coordinator.js"), "run", recipe.ts, "--sandbox", "--allow-shell"], home("warm"));
    let fresh = 0;
    const cold: Measure = () => timed([join(root, "dist/coordinator.js"), "run", recipe.ts], home(`cold${fresh++}`));
    const zx = (path: string): Measure => {
      return () => timed([join(root, "node_modules/zx/build/cli.js"), path], {});
    };
    const pairs: readonly [name: string, ours: Measure, theirs: Measure][] = [
      ["a recipe, recipe.ts / script.mjs", sortie(recipe.ts), zx(script.js)],
      ["both TypeScript", sortie(recipe.ts), zx(script.ts)],
      ["both JavaScript", sortie(recipe.js), zx(script.js)],
      ["a recipe that needs tsx", sortie(recipe.tsx), zx(script.ts)],
      ["nothing cached, and no record yet", cold, zx(script.ts)],
      ["in a sandbox / without one", sandboxed, sortie(recipe.ts)],
    ];
    for (const [name, ours, theirs] of pairs) yield [name, await inTurn(ours, theirs)];
    const coordinator = (...args: readonly string[]): Measure => {
      return () => timed([join(root, "dist/coordinator.js"), ...args], home("warm"), "whole");
    };
    yield* parts([
      ["Node, and nothing", () => timed(["-e", "0"], {}, "whole")],
      ["coordinator --version", coordinator("--version")],
      ["run --dry-run", coordinator("run", recipe.ts, "--dry-run")],
      ["run --dry-run, with tsx", coordinator("run", recipe.tsx, "--dry-run")],
      ["run, to the first byte", sortie(recipe.ts)],
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What Node cannot take away from TypeScript, as it has to be made into something. */
const enumIn = (source: string): string => `${source}enum Level { low }\nvoid Level.low;\n`;

/** Each does what the one before it does, and more; all in turn. */
async function* parts(steps: readonly [name: string, measure: Measure][]): AsyncGenerator<[string, string]> {
  for (const [, measure] of steps) await measure();
  const rounds: number[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const row: number[] = [];
    for (const [, measure] of steps) row.push((await measure()).first);
    rounds.push(row);
  }
  for (const [index, [name]] of steps.entries())
    yield [name, `${median(rounds.map((row) => row[index] ?? 0)).toFixed(0)} ms`];
}

async function inTurn(ours: Measure, theirs: Measure): Promise<string> {
  await ours();
  await theirs();
  const rounds: { ours: Times; theirs: Times }[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push({ ours: await ours(), theirs: await theirs() });
  const figure = (part: keyof Times): string => {
    const middle = (side: "ours" | "theirs") => median(rounds.map((pair) => pair[side][part])).toFixed(0);
    const ratio = median(rounds.map((pair) => pair.ours[part] / pair.theirs[part])).toFixed(2);
    return `${middle("ours")} / ${middle("theirs")} ms = ${ratio}`;
  };
  return `first byte ${figure("first")}, whole ${figure("whole")} (less is better)`;
}

/** `until` the byte, or the end where there is none. */
function timed(args: readonly string[], environment: NodeJS.ProcessEnv, until: keyof Times = "first"): Promise<Times> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(process.execPath, args, {
      env: { ...process.env, CI: "", ...environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    let first: number | undefined;
    child.stdout.on("data", (bytes: Buffer) => {
      text += bytes;
      if (first === undefined && FIRST_BYTE.test(text)) first = performance.now() - began;
    });
    child.once("error", reject);
    child.once("close", (code) => {
      const whole = performance.now() - began;
      if (until === "whole") first = whole;
      if (code === 0 && first !== undefined) resolve({ first, whole });
      else reject(new Error(`${args.join(" ")} exited with ${code}: ${text}`));
    });
  });
}
