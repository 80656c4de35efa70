import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { errorsPage } from "../scripts/errors-doc.ts";
import { IMAGE, testEngine } from "./rig/engine.ts";
import { Rig, root } from "./rig/rig.ts";
import { startSshd, whyNoSshd } from "./rig/sshd.ts";

const pages = ["README.md", "CONTRIBUTING.md", ...readdirSync(join(root, "docs")).map((name) => join("docs", name))];
const textOf = (page: string): string => readFileSync(join(root, page), "utf8");
const blocks = (page: string, language: string): string[] =>
  [...textOf(page).matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, code = ""]) => code);

// Each of these starts many commands, one after the other.
describe("the documentation", { timeout: 240_000 }, () => {
  it("has the errors as they are", () => {
    expect(textOf("docs/errors.md")).toBe(errorsPage());
  });

  it("links only to what is there", () => {
    const broken = pages.flatMap((page) =>
      [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)]
        .map(([, link = ""]) => join(dirname(page), link))
        .filter((target) => !existsSync(join(root, target))),
    );
    expect(broken).toEqual([]);
  });

  it("shows recipes that can be planned", async () => {
    await using rig = new Rig();
    const examples = ["README.md", "docs/recipes.md"].flatMap((page) => blocks(page, "ts"));
    expect(examples.length).toBeGreaterThanOrEqual(3);
    for (const [index, source] of examples.entries()) {
      const { code, stderr } = await rig.coordinator(["run", rig.recipe(source, `example-${index}.ts`), "--dry-run"]);
      expect({ source, code, stderr }).toEqual({ source, code: 0, stderr: "" });
    }
  });

  it("shows functions that run", async () => {
    await using rig = new Rig();
    const examples = blocks("docs/function-steps.md", "ts");
    expect(examples.length).toBeGreaterThanOrEqual(5);
    const [, answer = ""] = /--answer (\S+=\S+)/.exec(blocks("docs/function-steps.md", "text").join("")) ?? [];
    for (const [index, source] of examples.entries()) {
      const path = rig.recipe(source, `example-${index}.ts`);
      const answers = source.includes("await ask(") ? ["--answer", answer] : [];
      const { code, stderr, text } = await rig.coordinator(["run", path, ...answers]);
      expect({ source, text, code, stderr }).toMatchObject({ source, code: 0, stderr: "" });
    }
  });

  it("shows log commands that work", async () => {
    await using rig = new Rig();
    expect((await rig.coordinator(["run", "recipes/hello.ts"])).code).toBe(0);
    for (const line of blocks("docs/logs.md", "sh").join("").trim().split("\n")) {
      const [, , ...args] = line.split(" ");
      const { code, text } = await rig.coordinator(args);
      expect({ line, code }).toEqual({ line, code: 0 });
      if (!line.includes("--stderr")) expect(text).toContain("Hello from Sortie!");
    }
  });

  it("has a README whose every command works, one after the other, as it is read", async () => {
    expect(await runPage("README.md")).toBeGreaterThan(16);
  });

  it("has a page about journals whose every command works", async () => {
    expect(await runPage("docs/journal.md")).toBeGreaterThan(5);
  });
  it("has a page about views whose every command works", async () => {
    await using rig = new Rig();
    for (const line of blocks("docs/views.md", "sh").join("").trim().split("\n")) {
      const [, , ...args] = line.replace(/\s+#.*$/, "").split(" ");
      const { code, stderr } = await rig.coordinator(args[0] === "run" ? [...args, "--dry-run"] : args);
      expect({ line, code, stderr }).toEqual({ line, code: 0, stderr: "" });
    }
  });
});

/**
 * Runs the page's commands in their order, with the runner that it starts; gives how many there are. Images and hosts are
 * those of the tests: no registry is in reach.
 */
async function runPage(page: string): Promise<number> {
  await using rig = new Rig();
  const needsBackends = /--image|--ssh/.test(blocks(page, "sh").join(""));
  const engine = needsBackends ? await testEngine("docker") : { missing: "not needed" };
  await using sshd = needsBackends && whyNoSshd() === undefined ? await startSshd() : undefined;
  const environment = {
    ...process.env,
    SORTIE_HOME: rig.home,
    ...("host" in engine ? { DOCKER_HOST: engine.host } : {}),
    ...(sshd ? { SORTIE_SSH_CONFIG: sshd.config } : {}),
    PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`,
  };
  const built = (command: string): string =>
    command
      .replaceAll("npx coordinator", `${process.execPath} dist/coordinator.js`)
      .replaceAll("npx runner", `${process.execPath} dist/runner.js`)
      .replace("--image alpine:3", `--image ${IMAGE}`)
      .replace("--ssh ci@build1", "--ssh target");
  /** Its own exit code, which the page tells where it is not 0. */
  const run = (command: string): { code: number; stderr: string } => {
    try {
      execFileSync("sh", ["-c", built(command)], { cwd: root, env: environment, stdio: "pipe" });
      return { code: 0, stderr: "" };
    } catch (error) {
      const { status, stderr } = error as { status?: number; stderr?: Buffer };
      return { code: status ?? -1, stderr: String(stderr) };
    }
  };
  const started: { readonly child: ReturnType<typeof spawn>; readonly ended: Promise<unknown> }[] = [];
  const start = (command: string, own: Record<string, string> = {}): ReturnType<typeof spawn> => {
    const child = spawn("sh", ["-c", `exec ${built(command)}`], { cwd: root, env: { ...environment, ...own } });
    // From the beginning on: some end by themselves.
    started.push({ child, ended: new Promise((resolve) => child.once("exit", resolve)) });
    return child;
  };
  let invite = "";
  const lines = blocks(page, "sh").join("").split("\n").filter(Boolean);
  try {
    for (const line of lines) {
      const command = line
        .replace(/\s+#.*$/, "")
        .replace(/^npm ci && /, "")
        .replace(/'sortie:[^']*'/, `'${invite}'`)
        .replaceAll(/\/tcp\/770[01]\b/g, "/tcp/0");
      if (("missing" in engine && line.includes("--image")) || (!sshd && line.includes("--ssh"))) {
        console.log(`left out, since this machine has no engine or no sshd: ${line}`);
        continue;
      }
      // Installing, and the whole suite within itself, are what runs this test.
      if (/^npm (ci|cit|run check)\b/.test(command) || command === "npx coordinator run recipes/ci.ts") continue;
      if (command.startsWith("npx coordinator invite")) {
        invite = await saidBy(start(command), INVITE);
        continue;
      }
      if (command.includes(" --join ")) {
        // On another machine.
        await saidBy(start(command, { SORTIE_HOME: join(rig.folder, "joined") }), /(dials) /);
        continue;
      }
      if (command.startsWith("npx runner start")) {
        invite = await saidBy(start(command), INVITE);
        if (!lines.some((one) => one.includes("coordinator add"))) run(`npx coordinator add '${invite}'`);
        continue;
      }
      const { code, stderr } = run(command);
      const expected = Number(/exit code (\d+)/.exec(line)?.[1] ?? 0);
      expect({ line, code, stderr: code === expected ? "" : stderr }).toEqual({ line, code: expected, stderr: "" });
    }
    return lines.length;
  } finally {
    for (const { child } of started) child.kill("SIGTERM");
    await Promise.all(started.map(({ ended }) => ended));
  }
}

const INVITE = /(sortie:[^'\s]+)['\n]/;

function saidBy(child: ReturnType<typeof spawn>, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const look = (bytes: Buffer): void => {
      said += bytes;
      const found = pattern.exec(said)?.[1];
      if (found) resolve(found);
    };
    child.stdout?.on("data", look);
    child.stderr?.on("data", look);
    child.on("exit", () => reject(new Error(`it ended: ${said}`)));
  });
}
