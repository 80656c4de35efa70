import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { errorsPage } from "../scripts/errors-doc.ts";
import { Rig, root } from "./rig/rig.ts";

const pages = ["README.md", "CONTRIBUTING.md", ...readdirSync(join(root, "docs")).map((name) => join("docs", name))];
const textOf = (page: string): string => readFileSync(join(root, page), "utf8");
const blocks = (page: string, language: string): string[] =>
  [...textOf(page).matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(([, code = ""]) => code);

describe("the documentation", () => {
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
    await using rig = new Rig();
    const { spawn } = await import("node:child_process");
    const environment = {
      ...process.env,
      SORTIE_HOME: rig.home,
      PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}`,
    };
    let runner: ReturnType<typeof spawn> | undefined;
    let invite = "";
    let ran = 0;
    try {
      for (const line of blocks("README.md", "sh")
        .join("")
        .split("\n")
        .map((text) => text.replace(/\s+#.*$/, ""))
        .filter(Boolean)) {
        ran++;
        // Installing, and the whole suite within itself, are what runs this test.
        if (/^npm (ci|cit|run check)\b/.test(line) && !line.includes("&&")) continue;
        if (line === "npx coordinator run recipes/ci.ts") continue;
        const command = line
          .replace(/^npm ci && /, "")
          .replace(/'sortie:[^']*'/, `'${invite}'`)
          .replaceAll("/tcp/7700", "/tcp/0");
        if (command.startsWith("npx runner start")) {
          runner = spawn("sh", ["-c", `exec ${command.replace("npx runner", `${process.execPath} dist/runner.js`)}`], {
            cwd: root,
            env: environment,
          });
          invite = await new Promise((resolve, reject) => {
            let said = "";
            runner?.stdout?.on("data", (bytes) => {
              said += bytes;
              const found = /'(sortie:[^']+)'/.exec(said)?.[1];
              if (found) resolve(found);
            });
            runner?.on("exit", () => reject(new Error(`it ended: ${said}`)));
          });
          continue;
        }
        const expected = Number(
          /exit code (\d+)/.exec(
            textOf("README.md")
              .split("\n")
              .find((one) => one.startsWith(line)) ?? "",
          )?.[1] ?? 0,
        );
        try {
          execFileSync(
            "sh",
            [
              "-c",
              command
                .replaceAll("npx coordinator", `${process.execPath} dist/coordinator.js`)
                .replaceAll("npx runner", `${process.execPath} dist/runner.js`),
            ],
            { cwd: root, env: environment, stdio: "pipe" },
          );
          expect({ line, code: 0 }).toEqual({ line, code: expected });
        } catch (error) {
          const { status, stderr } = error as { status?: number; stderr?: Buffer };
          expect({ line, code: status, stderr: status === expected ? "" : String(stderr) }).toEqual({
            line,
            code: expected,
            stderr: "",
          });
        }
      }
      expect(ran).toBeGreaterThan(12);
    } finally {
      if (runner && runner.exitCode === null) {
        runner.kill("SIGTERM");
        await new Promise((resolve) => runner?.once("exit", resolve));
      }
    }
  });
});
