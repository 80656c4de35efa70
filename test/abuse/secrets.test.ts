// What jobs, peers and recipes do to get a secret out: of one runner in this process, with real commands, journals and an audit.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import { execute } from "../../coordinator/execute.ts";
import type { KnownRunner } from "../../coordinator/fleet.ts";
import { planOf } from "../../coordinator/plan.ts";
import { job, recipe, secret, sh } from "../../coordinator/recipe/sdk.ts";
import { openSecrets } from "../../coordinator/secrets.ts";
import { openStore } from "../../coordinator/store/store.ts";
import { encodeControl } from "../../protocol/chunk.ts";
import type { DeliveredSecret } from "../../protocol/delivered-secret.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { newRunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { formsOf } from "../../protocol/secret-forms.ts";
import { createAdmission } from "../../runner/admission.ts";
import { compile } from "../../runner/grants/decide.ts";
import { allowAll, type Policy } from "../../runner/grants/policy.ts";
import { sshBackend } from "../../runner/keeper/backends/ssh/ssh.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { call as engineCall, testEngine } from "../rig/engine.ts";
import { allProcesses, argumentsOf } from "../rig/processes.ts";
import { Rig, until } from "../rig/rig.ts";
import { codeOf, dial, finish, jobLogs, listJobs, type Read, request, startJob } from "../runner/calls.ts";
import { requestOf, service } from "../runner/containers.ts";
import { drive } from "../runner/driven-jobs.ts";
import { attack } from "./attack.ts";

const TOKEN = `t0ken'of"the<coordinator>&/?= it's 100%`;
const KEY = "-----BEGIN KEY-----\nq83vEjRWeJCrze8SNFZ4kKvN\nvEjRWeJCrze8SNFZ4kKvN7xI=\n-----END KEY-----\n";
const folder = mkdtempSync(join(tmpdir(), "sortie-abuse-secrets-"));
const home = join(folder, "keeper");
const logged: string[] = [];
let policy: Policy = allowAll;
let runner: Runner;

const secrets: DeliveredSecret[] = [
  { as: "env", name: "TOKEN", variable: "TOKEN", value: TOKEN },
  { as: "env", name: "KEY", variable: "KEY", value: KEY },
  { as: "file", name: "KEY", value: KEY },
  { as: "file", name: "TOKEN", value: TOKEN },
];
const forms = [TOKEN, KEY].flatMap((value) => [...formsOf(value)]);
const leaksIn = (text: string): string[] => forms.filter((form) => text.includes(form));
const run = async (script: string, more: Partial<JobRequest> = {}): Promise<Read> =>
  finish(await startJob(runner, request(script, { secrets, ...more })));
const filesBelow = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
const GO_XML = `process.env.TOKEN.replace(/[&<>"\\x27]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[one] ?? "&#" + one.charCodeAt() + ";")`;
const node = (script: string): string => `'${process.execPath}' -e '${script}'`;

beforeAll(async () => {
  const keeper = await embeddedKeeper(home, (line) => logged.push(line), join(folder, "audit"));
  const admission = createAdmission({
    name: "w1",
    sectionsFor: () => [compile(policy, "flags")],
    keeper,
    log: (line) => logged.push(line),
  });
  runner = await createRunner({
    ...{ name: "w1", labels: {}, slots: 8, admission, keeper, leaseMs: limits.leaseMs, journals: defaultJournalLimits },
  });
});
afterEach(async () => {
  // Whatever was tried, the runner is there, and nothing of it has a value: no journal, no record, no audit, no line.
  policy = allowAll;
  expect((await run("echo again", { secrets: [] })).stdout).toBe("again\n");
  // A job's directory goes once its exit was told, and should not do so under the look at the files.
  const work = await until(
    () => readdirSync(join(home, "work")),
    ({ length }) => length === 0,
  );
  expect(work).toEqual([]);
  const files = filesBelow(folder).map((path) => [path, readFileSync(path, "latin1")] as const);
  expect(files.length).toBeGreaterThan(3);
  expect(files.filter(([, text]) => leaksIn(text).length > 0).map(([path]) => path)).toEqual([]);
  expect(leaksIn(logged.join("\n"))).toEqual([]);
});
afterAll(async () => {
  await runner.close();
  rmSync(folder, { recursive: true });
});

describe("a job that prints its secrets", () => {
  const b64 = (prefix: string): string => `printf '${prefix}%s' "$TOKEN" | base64 -w0; echo`;
  for (const [name, script] of [
    ["in one piece", 'printf "%s\\n" "$TOKEN" "$KEY"'],
    ["byte by byte", 'printf "%s" "$TOKEN" | dd bs=1 status=none; cat "$KEY_FILE" | dd bs=1 status=none'],
    ["out of its file, without a newline at the very end", 'printf "at the end: "; cat "$TOKEN_FILE"'],
    ["in base64", b64("")],
    ["in base64, one byte behind another", b64("x")],
    ["in base64, two bytes behind another", b64("xy")],
    ["in base64 for addresses", `${b64("")} | tr +/ -_`],
    ["in base64 of a whole header", 'printf "user:%s" "$TOKEN" | base64 -w0'],
    ["in base64 in lines", 'base64 < "$KEY_FILE"; base64 -w64 "$KEY_FILE"'],
    ["in hex", 'od -An -v -tx1 "$KEY_FILE" | tr -d " \\n"'],
    ["in upper hex", 'od -An -v -tx1 "$TOKEN_FILE" | tr -d " \\n" | tr a-f A-F'],
    ["in an address", node("console.log(encodeURIComponent(process.env.TOKEN), escape(process.env.KEY))")],
    ["in a form", node("console.log(String(new URLSearchParams({ a: process.env.TOKEN, b: process.env.KEY })))")],
    ["in JSON", node("console.log(JSON.stringify(process.env))")],
    ["in XML as Go writes it", node(`console.log(${GO_XML})`)],
    ["in a trace of its shell", 'set -x; : "$TOKEN" "$KEY"; : $KEY'],
    ["line by line, each with a word before", 'while read -r line; do echo "> $line <"; done < "$KEY_FILE"'],
    ["with a terminal's newlines", 'sed "s/$/\\r/" "$KEY_FILE"'],
  ] as const) {
    attack(`prints them ${name}`, "*** in its journal", async () => {
      const { stdout, stderr, exit, bytes } = await run(script);
      expect(exit).toMatchObject({
        reason: "exited",
        code: 0,
        bytes: { stdout: stdout.length, stderr: stderr.length },
      });
      expect(`${stdout}${stderr}`).toContain("***");
      expect(leaksIn(bytes.toString("latin1"))).toEqual([]);
    });
  }

  attack("prints them on stderr, and asks its runner for the log later", "*** there, too", async () => {
    const wanted = request('printf "%s\\n" "$TOKEN" >&2; cat "$KEY_FILE" >&2', { secrets });
    const { stderr } = await finish(await startJob(runner, wanted));
    const told = (await jobLogs(runner, wanted)).map(({ text }) => text).join("");
    expect([stderr, told]).toEqual(["***\n***\n", "***\n***\n"]);
  });

  attack("puts it into the name of a program that is not there", "*** in the exit and in its line", async () => {
    const { exit, stderr } = await run("", { steps: [{ argv: [TOKEN] }] });
    expect(exit).toMatchObject({
      reason: "failed-to-start",
      message: expect.stringMatching(/^\*\*\*: command not found/),
    });
    expect(stderr).toBe("sortie: ***: command not found\n");
  });

  attack("has its exit's message cut in the middle of one", "it is hidden before", async () => {
    const { exit } = await run("", { steps: [{ argv: [`${"x".repeat(980)}${TOKEN}`] }] });
    expect(exit).toMatchObject({
      reason: "failed-to-start",
      message: expect.stringMatching(/^x{980}\*{3}: /),
    });
  });

  attack("has a command of its function print it", "*** in the journal of that command", async () => {
    const driven = await drive(runner, { secrets });
    const { stdout, bytes } = await driven.run('cat "$TOKEN_FILE"; echo; printf %s "$KEY" | base64 -w0');
    await driven.finish();
    expect(stdout).toMatch(/^\*\*\*\n\*\*\*/);
    expect(leaksIn(bytes.toString("latin1"))).toEqual([]);
  });

  attack("renames a process after it and is cancelled", "*** among the processes that were ended", async () => {
    const short = "hushhush9";
    const wanted = request(`printf "#!/bin/sh\\necho up; sleep 6311\\n" > ${short}; chmod +x ${short}; ./${short}`, {
      secrets: [{ as: "stdin", name: "S", value: short }],
      timeoutMs: 700,
    });
    const { exit, bytes } = await finish(await startJob(runner, wanted));
    expect(exit).toMatchObject({ reason: "timeout" });
    expect(bytes.includes(short)).toBe(false);
  });
});

describe("a peer that asks for a job with a secret", () => {
  const refused = async (asked: DeliveredSecret[]): Promise<SortieError> =>
    startJob(runner, request("echo ran", { secrets: asked })).then(
      () => expect.unreachable("it was taken"),
      (error: SortieError) => error,
    );

  attack("a secret that is too short to be hidden", "PROTOCOL, without its value", async () => {
    const error = await refused([{ as: "env", name: "A", variable: "A", value: "abcd9" }]);
    expect([error.code, error.message.includes("abcd9")]).toEqual(["PROTOCOL", false]);
  });
  attack("the name of a secret's file leads elsewhere", "PROTOCOL", async () => {
    for (const name of ["../KEY", "a/b", ".", "", "A B", "x".repeat(300)])
      expect((await refused([{ as: "file", name, value: TOKEN }])).code).toBe("PROTOCOL");
  });
  attack("a secret by a variable that the job has already, or of Sortie", "PROTOCOL", async () => {
    for (const variable of ["KEY_FILE", "SORTIE_JOB", "A=B"])
      expect(
        (
          await refused([
            { as: "file", name: "KEY", value: KEY },
            { as: "env", name: "A", variable, value: TOKEN },
          ])
        ).code,
      ).toBe("PROTOCOL");
  });
  attack("more secrets than can be looked for", "PROTOCOL, before anything is built", async () => {
    const many = Array.from({ length: 3 }, (_, index) => `${index}`.repeat(30_000));
    expect((await refused(many.map((value, index) => ({ as: "file", name: `S${index}`, value })))).code).toBe(
      "PROTOCOL",
    );
  });
  attack("another user reads the arguments of all processes while it runs", "none has a value", async () => {
    const driven = await drive(runner, { secrets });
    const go = join(folder, "go");
    const running = driven.run(`echo "$TOKEN" > /dev/null; until [ -e ${go} ]; do sleep 0.0373; done`);
    let whileItRuns = 0;
    let seen: string[] = [];
    const look = (): number => {
      const lines = allProcesses().map(argumentsOf);
      seen = [...seen, ...lines.flatMap((line) => leaksIn(line))];
      return lines.some((line) => line.includes(go)) ? ++whileItRuns : whileItRuns;
    };
    await until(look, (count) => count >= 10);
    writeFileSync(go, "");
    await running;
    await driven.finish();
    expect(whileItRuns).toBe(10);
    expect(seen).toEqual([]);
  });
  attack(
    "secrets of which there is very much to be looked for",
    "others' jobs run meanwhile, and too much is refused",
    async () => {
      const made = (bytes: number): DeliveredSecret => {
        const value = Array.from({ length: bytes / 12 }, (_, at) => `<&'"/\\ é${at}`).join("$");
        return { as: "file", name: "S", value: value.slice(0, bytes) };
      };
      const wanted = request("true", { secrets: [made(15_000)] });
      let isOver = false;
      const much = startJob(runner, wanted)
        .then(finish)
        .finally(() => {
          isOver = true;
        });
      const other = run("echo other", { secrets: [] });
      // It is among the jobs once that is done; each call until then was answered in the middle of it.
      let answers = 0;
      const isThere = async (): Promise<boolean> =>
        (await listJobs(runner)).some(({ attemptId }) => attemptId === wanted.attemptId);
      for (; !isOver && !(await isThere()); answers++) await turn();
      expect(answers).toBeGreaterThan(10);
      expect((await other).stdout).toBe("other\n");
      expect((await much).exit).toMatchObject({ code: 0 });
      expect((await refused([made(30_000)])).code).toBe("SECRET_INVALID");
    },
  );
  attack("a value in the very words that are denied", "DENIED; log and audit have ***", async () => {
    policy = { allow: { secret: true }, deny: {} };
    const asked = secrets.slice(3);
    for (const more of [{ cwd: `/${TOKEN}` }, { steps: [{ argv: [TOKEN] }] }])
      expect(await codeOf(startJob(runner, request("true", { secrets: asked, ...more })))).toBe("DENIED");
    expect(logged.at(-1)).toContain('run "***"');
  });
  attack("a command within that brings secrets of its own", "PROTOCOL", async () => {
    const driven = await drive(runner, { secrets });
    expect(await codeOf(driven.start("true", { secrets }))).toBe("PROTOCOL");
    expect((await driven.finish()).exit).toMatchObject({ code: 0 });
  });
  attack(
    "a secret that was not granted, though programs are",
    "DENIED, by its name and without its value",
    async () => {
      policy = { allow: { shell: true, env: true, secret: ["OTHER"] }, deny: {} };
      const error = await refused(secrets.slice(2, 3));
      expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining("secret KEY") });
      expect(`${error.hint}`).toContain("--allow-secret=KEY");
      expect(leaksIn(`${error.message} ${error.hint}`)).toEqual([]);
    },
  );
  attack("a variable that changes programs, as a secret that is granted", "DENIED: it is a variable, too", async () => {
    policy = { allow: { shell: true, secret: ["A"] }, deny: {} };
    const error = await refused([{ as: "env", name: "A", variable: "LD_PRELOAD", value: "/tmp/evil.so" }]);
    expect(error).toMatchObject({ code: "DENIED", message: expect.stringContaining("LD_PRELOAD") });
  });
  attack("another peer looks for the job and its secret", "NOT_FOUND, and no such job", async () => {
    const driven = await drive(runner, { secrets });
    expect(await codeOf(jobLogs(runner, driven.wanted, { peer: "another" }))).toBe("NOT_FOUND");
    expect(JSON.stringify(await listJobs(runner))).not.toContain("TOKEN");
    expect(await listJobs(runner, "another")).toEqual([]);
    await driven.finish();
  });
});

describe("the file of a secret", () => {
  const nameOf = (attemptId: string): string =>
    `/dev/shm/sortie-secrets-${readFileSync(join(home, "owner"), "utf8")}-${attemptId}`;

  attack("somebody made its folder before", "the job is not started, and nothing is written there", async () => {
    const wanted = request("echo ran", { secrets });
    const path = nameOf(wanted.attemptId);
    mkdirSync(path, { mode: 0o777 });
    try {
      const { exit, stdout } = await finish(await startJob(runner, wanted));
      expect(exit).toMatchObject({ reason: "failed-to-start", message: expect.stringContaining("(EEXIST)") });
      expect([stdout, readdirSync(path)]).toEqual(["", []]);
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  });

  attack(
    "the job leaves a process that waits for the file of the next",
    "each has a folder of its own, gone with it",
    async () => {
      const first = await run('echo "$KEY_FILE"');
      const second = await run('echo "$KEY_FILE"');
      expect(first.stdout).not.toBe(second.stdout);
      for (const { stdout } of [first, second]) expect(existsSync(dirname(stdout.trim()))).toBe(false);
    },
  );

  attack(
    "its keeper is killed while the job runs",
    "the next keeper removes it",
    async () => {
      const place = join(folder, "killed");
      const script = `const { embeddedKeeper } = await import(${JSON.stringify(join(import.meta.dirname, "../../runner/keeper/keeper-link.ts"))});
      const { openKeeper } = await import(${JSON.stringify(join(import.meta.dirname, "../../runner/keeper/keeper.ts"))});
      const { memoryChannelPair } = await import(${JSON.stringify(join(import.meta.dirname, "../../protocol/memory-channel.ts"))});
      const { serveCall } = await import(${JSON.stringify(join(import.meta.dirname, "../../protocol/serve-call.ts"))});
      const { callRaw } = await import(${JSON.stringify(join(import.meta.dirname, "../../protocol/make-call.ts"))});
      const keeper = await openKeeper({ folder: ${JSON.stringify(place)} });
      const [ours, theirs] = memoryChannelPair();
      void serveCall(theirs, keeper.handlers, { peer: "test", name: "test" });
      const { text } = await new Promise((resolve) => process.once("message", resolve));
      await callRaw(ours, "/keeper/run", JSON.parse(text));
      setInterval(() => {}, 1000);`;
      const wanted = request("sleep 6312", { secrets });
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      const ended = new Promise((resolve) => child.once("exit", resolve));
      const input = {
        request: wanted,
        owner: "test",
        slots: 1,
        leaseMs: 60_000,
        decision: { peer: "test", name: "test", wants: [], rule: "" },
        window: limits.window,
        holder: "one",
      };
      child.send({ text: JSON.stringify(input) });
      try {
        const files = (): string[] => {
          const own = readdirSync("/dev/shm").find((name) => name.endsWith(wanted.attemptId));
          return own ? readdirSync(join("/dev/shm", own)) : [];
        };
        await expect.poll(files, { timeout: 30_000 }).toEqual(["KEY", "TOKEN"]);
        child.kill("SIGKILL");
        await ended;
        expect(files()).toEqual(["KEY", "TOKEN"]);
        const next = await embeddedKeeper(place);
        expect(files()).toEqual([]);
        await next.close();
      } finally {
        child.kill("SIGKILL");
      }
    },
    60_000,
  );
});

describe("a job in a container", () => {
  let host: string;
  const before = process.env["DOCKER_HOST"];
  beforeAll(async () => {
    const engine = await testEngine("docker");
    if ("missing" in engine) throw new Error(engine.missing);
    host = engine.host;
    process.env["DOCKER_HOST"] = host;
  });
  afterAll(() => {
    if (before === undefined) delete process.env["DOCKER_HOST"];
    else process.env["DOCKER_HOST"] = before;
  });

  attack(
    "asks its engine what it is given, and leaves a copy of it in its files",
    "a path, and no value in any layer",
    async () => {
      const asked = requestOf({ steps: [] });
      const job = await drive(runner, { container: asked.container, secrets: secrets.slice(2) });
      const first = await job.run("sha256sum < $KEY_FILE; touch /changed; ls -l /run/sortie-secrets");
      expect(first.stdout).toMatch(/^[0-9a-f]{64} {2}-\n[\s\S]*KEY[\s\S]*TOKEN/);
      // It waits for what is asked meanwhile.
      const call = await job.start("echo up; ls /changed; cat; cat $TOKEN_FILE", { stdin: true });
      const second = finish(call);
      const labelled = encodeURIComponent(JSON.stringify({ label: [`sortie.attempt=${job.wanted.attemptId}`] }));
      let told = "";
      await expect
        .poll(
          async () => {
            const { text } = await engineCall(host, "GET", `/containers/json?all=1&filters=${labelled}`);
            const ids = (JSON.parse(text) as { Id: string; Image: string }[]).flatMap(({ Id, Image }) => [
              `/containers/${Id}/json`,
              `/containers/${Id}/changes`,
              `/images/${encodeURIComponent(Image)}/json`,
              `/images/${encodeURIComponent(Image)}/history`,
            ]);
            for (const path of ids) told += (await engineCall(host, "GET", path)).text;
            return told;
          },
          { timeout: 30_000 },
        )
        .toContain("/run/sortie-secrets");
      await call.write(encodeControl({ type: "eof" }));
      expect((await second).stdout).toBe("up\n/changed\n***");
      await job.finish();
      expect(told).toContain("KEY_FILE=/run/sortie-secrets/KEY");
      expect(leaksIn(told)).toEqual([]);
    },
    60_000,
  );

  attack(
    "has a service print its secret, in one line and in two pieces of a long one",
    "*** in the note",
    async () => {
      const { container } = requestOf({
        container: {
          services: [
            service({
              name: "db",
              entrypoint: [
                "sh",
                "-c",
                'echo "is $PASSWORD"; head -c 2040 /dev/zero | tr "\\0" x; echo "$PASSWORD"; sleep 60',
              ],
            }),
          ],
        },
      });
      const wanted = request("cat", {
        container,
        stdin: true,
        secrets: [{ as: "env", name: "DB", variable: "PASSWORD", service: "db", value: TOKEN }],
      });
      const call = await startJob(runner, wanted);
      let notes = "";
      const ended = finish(call, 0, (one) => {
        if (one.type === "note" && one.from === "db") notes += one.text;
      });
      // A service writes when it likes: the job goes on until all was told.
      await until(
        () => notes,
        (text) => text.endsWith("x***"),
      );
      await call.write(encodeControl({ type: "eof" }));
      await ended;
      expect(notes).toMatch(/^is \*\*\*\n?x{2040}\*\*\*$/);
    },
    60_000,
  );
});

describe("a recipe", () => {
  attack("turns a secret into a text", "an error that names it, at once", () => {
    const token = secret("TOKEN");
    const options: (() => unknown)[] = [
      () => `${token}`,
      () => String(token),
      () => JSON.stringify({ token }),
      () => [token].join(),
      () => sh`deploy ${token as never}`,
      () => job({ run: ["deploy", token as never] }),
      () => job({ run: "true", cwd: token as never }),
      () => job({ run: "true", on: { label: token as never } }),
    ];
    for (const option of options) expect(option).toThrow();
  });

  attack("takes it over ssh in a variable that only env(1) could set", "refused: its arguments tell it", async () => {
    const backend = sshBackend({ log: () => {} });
    const secrets: DeliveredSecret[] = [{ as: "env", name: "A", variable: "COMP_TOKEN", value: TOKEN }];
    const wanted = { ...request("true"), secrets, ssh: { host: "nowhere.invalid" } };
    const events = { note: () => {}, mark: () => {}, redaction: undefined };
    const opened = backend.open(wanted, folder, events, new AbortController().signal);
    await expect(opened).rejects.toThrow("a secret cannot be in COMP_TOKEN");
    await backend.close();
  });
  attack("asks for a secret for one of two runners", "the other never gets a byte of it", async () => {
    const sent = new Map<string, Buffer[]>([
      ["w1", []],
      ["w2", []],
    ]);
    // Both are this runner, each over a wire that is listened to.
    const runners = [...sent].map(
      ([name, heard]): KnownRunner => ({
        ...{ id: name, name, roundTripMs: 1 },
        info: { name, version: "1", labels: {}, slots: 4, busy: 0, draining: false },
        async open() {
          const channel = dial(runner, name);
          const write = channel.write.bind(channel);
          return Object.assign(Object.create(channel), {
            write: (bytes: Parameters<typeof write>[0]) => {
              heard.push(...[bytes].flat().map((piece) => Buffer.from(piece as Uint8Array)));
              return write(bytes);
            },
          });
        },
      }),
    );
    const path = join(folder, "recipe.ts");
    const on = (name: string) => ({ on: { runner: name } });
    const plan = planOf({
      ...{ path, source: "" },
      recipe: recipe({
        a: job({ ...on("w1"), run: "echo a" }),
        b: job({ ...on("w2"), env: { TOKEN: secret("TOKEN") }, run: 'test -n "$TOKEN"' }),
      }),
    });
    const read = openSecrets(path, { TOKEN });
    await read.read(plan.jobs);
    const store = openStore(join(folder, "coordinator"));
    const outcome = await execute({
      ...{ run: newRunId(), params: {}, runners, jobs: 4, failFast: false, folder: join(folder, "coordinator") },
      ...{ plan: { ...plan, source: "" }, secrets: read, claims: store.claims },
      cancelled: new AbortController().signal,
      emit() {},
    });
    store.close();
    const has = (name: string): boolean =>
      Buffer.concat(sent.get(name) ?? []).includes(JSON.stringify(TOKEN).slice(1, -1));
    expect([outcome, has("w1"), has("w2")]).toEqual(["passed", false, true]);
  });

  attack(
    "lets its function tell a secret in every way it has",
    "*** in every view, and on no disk",
    async () => {
      await using rig = new Rig();
      const path = rig.recipe(`import { job, recipe, secret } from "sortie";
      const given = job({ env: { TOKEN: secret("TOKEN") }, secrets: [secret("KEY")], async run({ $, env, log, ask }) {
        await log("the token is", env.TOKEN, [env.KEY]);
        await ask("Is it " + env.TOKEN + "?");
        await $\`echo \${env.TOKEN} \${env.KEY}; cat $KEY_FILE\`;
        return { token: env.TOKEN, key: [env.KEY] };
      } });
      const failed = job({ needs: [given], secrets: [secret("KEY")], stdin: secret("TOKEN"), run: "cat; cat $KEY_FILE >&2; exit 3" });
      const thrown = job({ env: { TOKEN: secret("TOKEN") }, run({ env }) {
        Promise.reject(new Error("x".repeat(920) + env.TOKEN));
        throw new Error("no: " + env.TOKEN + env.KEY);
      } });
      export default recipe({ given, failed, thrown }, { notify: { command: ["sh", "-c", "cat > told"], on: ["failed"] } });`);
      const env = { TOKEN, KEY };
      const told: string[] = [];
      for (const format of ["json", "plain", "github"]) {
        const report = ["--junit", join(dirname(path), "report.xml")].slice(0, format === "json" ? 2 : 0);
        const answer = ["--answer", "given=yes"];
        const { code, text, stderr } = await rig.coordinator(
          ["run", "--local", path, "--format", format, ...answer, ...report],
          { env },
        );
        expect(code, stderr).toBe(1);
        // GitHub itself is told what it is to hide, before all else.
        told.push(text.replaceAll(/^::add-mask::.*\n/gm, ""), stderr);
      }
      told.push((await rig.coordinator(["run", path, "--dry-run", "--format", "json"], { env })).text);
      for (const args of [
        ["show", "last", "--json"],
        ["logs", "last/given", "--notes"],
        ["logs", "last/failed"],
        ["logs", "last/thrown"],
      ])
        told.push((await rig.coordinator(args)).text);
      expect(told.join("\n")).toContain("the token is ***");
      expect(told.join("\n")).toContain("did not await failed after it: Error: xxx");
      expect(told.flatMap(leaksIn)).toEqual([]);
      // Nor a part, of what was cut.
      expect(told.join("\n")).not.toContain(TOKEN.slice(0, 8));
      const written = ["told", "report.xml"].map((name) => join(dirname(path), name));
      expect(written.map((file) => existsSync(file))).toEqual([true, true]);
      const kept = [...filesBelow(rig.home), ...written];
      expect(kept.length).toBeGreaterThan(5);
      const leaking = kept.filter((file) => leaksIn(readFileSync(file, "latin1")).length > 0);
      expect(leaking).toEqual([]);
    },
    60_000,
  );
});
