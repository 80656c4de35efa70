// Who is told how a run came out: over a real server, by a real command, in every view.
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, secret } from "sortie";\n${body}\n`;

describe("a recipe with notify", () => {
  it("tells how its run and its jobs came out, before the command ends", async () => {
    await using rig = new Rig();
    const said: string[] = [];
    await using server = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (text) => {
        body += text;
      });
      request.on("end", () => {
        said.push(`${request.url} ${body}`);
        response.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const path = rig.recipe(
      recipe(`import * as v from "valibot";
      export default recipe({
        params: v.object({}),
        notify: [{ url: secret("HOOK") }, { command: ["sh", "-c", "cat > told; echo $SORTIE_RUN $SORTIE_OUTCOME >> told"] }],
        jobs: () => ({ good: job({ run: "true" }), bad: job({ run: "exit 3", notify: { url: "${origin}/job" } }) }),
      });`),
    );
    const missing = await rig.coordinator(["run", path]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("notify asks for the secret HOOK, which is not set here.");
    const { code, text } = await rig.coordinator(["run", path], { env: { HOOK: `${origin}/run` } });
    expect(code).toBe(1);
    expect(text).not.toContain("warning");
    const [, run = ""] = /^run (\w+):/.exec(text) ?? [];
    const documents = new Map(said.map((one) => [one.split(" ")[0], JSON.parse(one.slice(one.indexOf("{")))]));
    expect(documents.get("/job")).toMatchObject({ type: "job", run, job: "bad", outcome: "failed", exit: { code: 3 } });
    expect(documents.get("/run")).toMatchObject({
      ...{ type: "run", run, outcome: "failed", counts: { passed: 1, failed: 1 } },
      notPassed: [{ job: "bad", outcome: "failed" }],
    });
    const [document = "", last] = readFileSync(join(rig.folder, "project", "told"), "utf8")
      .trim()
      .split("\n");
    expect(JSON.parse(document)).toEqual(documents.get("/run"));
    expect(last).toBe(`${run} failed`);
  });

  it("is warned of what could not be told, in every view, and comes out as it did", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(`export default recipe({ good: job({ run: "true" }) },
        { notify: { command: ["sh", "-c", "echo no route >&2; exit 7"], on: ["passed"] } });`),
    );
    const message = "sh could not be told that the run passed: exit 7: no route";
    const shown = async (format: string): Promise<string> => {
      const { code, text } = await rig.coordinator(["run", path, "--format", format]);
      expect(code).toBe(0);
      return text;
    };
    expect(await shown("plain")).toMatch(new RegExp(`^warning: ${message}\\nrun passed`, "m"));
    expect(await shown("github")).toContain(`\n::warning::${message}\n`);
    expect(await shown("gitlab")).toContain(`\nwarning: ${message}\n`);
    expect(
      (await shown("json"))
        .split("\n")
        .slice(-3, -1)
        .map((line) => JSON.parse(line)),
    ).toMatchObject([
      { type: "warning", message },
      { type: "run-ended", outcome: "passed" },
    ]);
    const terminal = await rig.coordinator(["run", path, "--format", "live"], { env: { TERM: "dumb" } });
    expect(terminal.text).toContain(`warning: ${message}`);
  });

  it("tells of a run that was cancelled too, once", async () => {
    await using rig = new Rig();
    const told = join(rig.folder, "told");
    const path = rig.recipe(
      recipe(`export default recipe({ long: job({ run: "echo up; sleep 4861" }) },
        { notify: { command: ["sh", "-c", "echo $SORTIE_OUTCOME >> ${told}"], on: ["cancelled", "failed"] } });`),
    );
    writeFileSync(told, "");
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    expect(readFileSync(told, "utf8")).toBe("cancelled\n");
  });
});
