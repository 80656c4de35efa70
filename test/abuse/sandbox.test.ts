// A recipe that means harm, under `--sandbox`: what its code tries in its own process, what it says to the coordinator, and what it asks
// the coordinator to do. The process is a real one, with real permissions; the recipes are real files.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FunctionElsewhere } from "../../coordinator/elsewhere.ts";
import { outputOfFunction } from "../../coordinator/output.ts";
import { JobsElsewhere } from "../../coordinator/plan.ts";
import type { CommandStarter } from "../../coordinator/recipe/command-starter.ts";
import type { SandboxGrants } from "../../coordinator/sandbox/grants.ts";
import type { Bounds } from "../../coordinator/sandbox/process.ts";
import { openSandbox, type Sandboxed } from "../../coordinator/sandbox/sandbox.ts";
import { asSortieError, type SortieError } from "../../protocol/errors.ts";
import type { Exit } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { Rig, root, until } from "../rig/rig.ts";
import { endsIn } from "../rig/run-events.ts";
import { attack } from "./attack.ts";

/** As it is built: it starts faster than its source does. */
const program = join(root, "dist/sandbox.js");
const NOTHING: SandboxGrants = { read: [], write: [], net: false, env: [], secret: [], runner: {} };
const folder = mkdtempSync(join(tmpdir(), "sortie-sandbox-"));
const repository = join(folder, "repository");
const homeBefore = process.env["SORTIE_HOME"];
let recipes = 0;

beforeAll(() => {
  process.env["SORTIE_HOME"] = join(folder, "home");
  process.env["SANDBOX_TOKEN"] = "hunter2-hunter2";
  mkdirSync(join(folder, "home/coordinator"), { recursive: true });
  writeFileSync(join(folder, "home/coordinator/identity.key"), "the key");
  mkdirSync(join(repository, ".git"), { recursive: true });
  writeFileSync(join(repository, "README"), "readable");
  writeFileSync(join(folder, "outside.json"), '{"outside":true}');
  symlinkSync(join(folder, "outside.json"), join(repository, "link.json"));
});
afterAll(() => {
  if (homeBefore === undefined) delete process.env["SORTIE_HOME"];
  else process.env["SORTIE_HOME"] = homeBefore;
  delete process.env["SANDBOX_TOKEN"];
  rmSync(folder, { recursive: true, force: true });
});

function recipe(text: string): string {
  const path = join(repository, `recipe-${++recipes}.ts`);
  writeFileSync(path, `import { job, matrix, recipe, secret, sh } from "sortie";\n${text}`);
  return path;
}

const printed: string[] = [];
const open = (text: string, grants: Partial<SandboxGrants> = {}, bounds: Partial<Bounds> = {}): Promise<Sandboxed> =>
  openSandbox(recipe(text), {
    grants: { ...NOTHING, ...grants },
    printed: (line) => printed.push(line),
    program,
    bounds,
  });

async function refused(
  text: string,
  grants: Partial<SandboxGrants> = {},
  bounds?: Partial<Bounds>,
): Promise<SortieError> {
  const opened = await open(text, grants, bounds).catch(asSortieError);
  if (!("close" in opened)) return opened;
  await opened.close();
  throw new Error("it was loaded");
}

/** Calls the function of a job, whose places have no commands but these. */
function call(opened: Sandboxed, name: string, starters: readonly CommandStarter[] = []): Promise<unknown> {
  const drive = opened.whole.jobs.find((job) => job.name === name)?.drive as FunctionElsewhere;
  return drive.drive({
    context: { needs: [], env: process.env, params: {} },
    starters,
    also: [],
    hide: (text) => text,
    store: async () => {},
    ask: (async () => "") as never,
    over: new AbortController().signal,
    workspace: "/",
    late: () => {},
  });
}

/** What each try of a recipe came to: the code of its refusal, or `done`. */
let tried: Record<string, string>;
const outcomeOf = (name: string): string => tried[name] ?? "not tried";

describe("the code of a sandboxed recipe", () => {
  let opened: Sandboxed;
  beforeAll(async () => {
    const address = await new Promise<number>((resolve) => {
      const server = createServer((_, response) => response.end("reached")).listen(0, "127.0.0.1", () => {
        server.unref();
        resolve((server.address() as AddressInfo).port);
      });
    });
    opened = await open(`
      import fs from "node:fs"; import net from "node:net"; import os, { setPriority } from "node:os"; import dns from "node:dns";
      import dgram from "node:dgram"; import child from "node:child_process"; import workers from "node:worker_threads";
      import inspector from "node:inspector"; import { WASI } from "node:wasi"; import v8 from "node:v8"; import vm from "node:vm";
      import cluster from "node:cluster"; import module from "node:module";
      const event = (target, good) => new Promise((resolve, reject) => target.once("error", reject).once(good, resolve));
      const tries = {
        readPasswd: () => fs.readFileSync("/etc/passwd"),
        readKey: () => fs.readFileSync(${JSON.stringify(join(folder, "home/coordinator/identity.key"))}),
        readUp: () => fs.readFileSync(${JSON.stringify(join(repository, "../outside.json"))}),
        readProc: () => fs.readFileSync("/proc/" + process.ppid + "/environ"),
        openKey: () => fs.promises.open(${JSON.stringify(join(folder, "home/coordinator/identity.key"))}),
        importKey: () => import([${JSON.stringify(join(folder, "outside.json"))}].join(), { with: { type: "json" } }),
        requireKey: () => module.createRequire("/")(${JSON.stringify(join(folder, "outside.json"))}),
        readOwn: () => fs.readFileSync(${JSON.stringify(join(repository, "README"))}, "utf8"),
        write: () => fs.writeFileSync(${JSON.stringify(join(repository, "written"))}, "x"),
        remove: () => fs.rmSync(${JSON.stringify(join(repository, "README"))}),
        symlink: () => fs.symlinkSync("/etc", ${JSON.stringify(join(repository, "etc"))}),
        report: () => process.report.writeReport(${JSON.stringify(join(repository, "report.json"))}),
        snapshot: () => v8.writeHeapSnapshot(${JSON.stringify(join(repository, "heap"))}),
        spawn: () => event(child.spawn("true"), "exit"),
        execSync: () => child.execSync("true"),
        fork: () => child.fork(${JSON.stringify(join(repository, "README"))}),
        cluster: () => cluster.fork(),
        execve: () => process.execve("/bin/true", ["true"], {}),
        fetch: () => fetch("http://127.0.0.1:${address}/"),
        connect: () => event(net.connect(${address}, "127.0.0.1"), "connect"),
        unix: () => event(net.connect("/var/run/docker.sock"), "connect"),
        listen: () => event(net.createServer().listen(0), "listening"),
        dns: () => dns.promises.lookup("localhost"),
        resolve: () => dns.promises.resolve4("localhost"),
        udp: () => new Promise((done, no) => { const s = dgram.createSocket("udp4"); s.once("error", no); s.send("x", ${address}, "127.0.0.1", (e) => (e ? no(e) : done())); }),
        worker: () => event(new workers.Worker("1", { eval: true }), "exit"),
        sqlite: () => import("node:" + "sqlite"),
        ffi: async () => (await import("node:" + "ffi")).dlopen("libc.so.6", {}),
        binding: () => process.binding("fs"),
        linked: () => process._linkedBinding("fs"),
        inspector: () => new inspector.Session().connect(),
        inspectorOpen: () => inspector.open(0),
        addon: () => process.dlopen({ exports: {} }, "/x.node"),
        wasi: () => new WASI({ version: "preview1", preopens: { "/": "/" } }),
        kill: () => process.kill(process.ppid, 0),
        rawKill: () => process._kill(process.ppid, 0),
        killAgain: () => { Object.defineProperty(process, "kill", { value: Object.getPrototypeOf(process).kill ?? (() => {}) }); },
        killElsewhere: () => vm.runInNewContext("p.kill(p.ppid, 0)", { p: process }),
        killHandle: () => new child.ChildProcess()._handle.spawn("/bin/true", ["true"], undefined, undefined, [], 0, -1, -1),
        signalHandle: () => String(new child.ChildProcess()._handle.kill(15)),
        debug: () => process._debugProcess(process.ppid),
        priority: () => os.setPriority(process.ppid, 19),
        priorityByName: () => setPriority(process.ppid, 19),
        flags: () => v8.setFlagsFromString("--allow-natives-syntax"),
        chdir: () => process.chdir("/"),
      };
      Object.prototype.polluted = "yes"; Array.prototype.polluted = "yes";
      const all = job({ async run() {
        const came = [];
        for (const [name, one] of Object.entries(tries)) {
          try {
            const late = new Promise((_, no) => setTimeout(no, 3000, new Error("nothing came of it")));
            const value = await Promise.race([one(), late]);
            came.push([name, typeof value === "string" ? value : "done"]);
          } catch (error) {
            const { code, cause, message } = error;
            came.push([name, code ?? cause?.code ?? message]);
          }
        }
        came.push(["environment", Object.keys(process.env).sort().join()], ["stdin", String(fs.readSync(0, Buffer.alloc(1)))]);
        delete Object.prototype.polluted;
        return Object.fromEntries(came);
      } });
      export default recipe({ all });`);
    tried = (await call(opened, "all")) as Record<string, string>;
  });
  afterAll(() => opened.close());

  const DENIED = "ERR_ACCESS_DENIED";
  for (const [name, does] of [
    ["readPasswd", "reads /etc/passwd"],
    ["readKey", "reads the coordinator's key"],
    ["openKey", "opens the coordinator's key by a promise"],
    ["readUp", "reads beside its repository by a path with .."],
    ["readProc", "reads the coordinator's environment in /proc"],
    ["importKey", "imports a file beside its repository while it runs"],
    ["requireKey", "requires a file beside its repository while it runs"],
    ["write", "writes into its repository"],
    ["remove", "removes a file of its repository"],
    ["symlink", "makes a link that leads out"],
    ["report", "writes a report of its process"],
    ["snapshot", "writes its heap to a file"],
    ["spawn", "starts a program"],
    ["execSync", "runs a command of a shell"],
    ["fork", "starts another Node"],
    ["cluster", "starts another Node by way of a cluster"],
    ["execve", "becomes another program"],
    ["killHandle", "starts a program by the handle beneath it"],
    ["fetch", "fetches from an address"],
    ["connect", "connects to a port"],
    ["unix", "connects to the engine's socket"],
    ["listen", "listens on a port"],
    ["dns", "looks a name up"],
    ["resolve", "asks a name server"],
    ["udp", "sends a datagram"],
    ["worker", "starts a worker thread, which has no permissions to lack"],
    ["binding", "takes what lies beneath Node's modules"],
    ["linked", "takes a linked binding"],
    ["inspector", "debugs itself, to get at Node's own code"],
    ["inspectorOpen", "opens a debugger's port"],
    ["wasi", "gives a WebAssembly module the file system"],
    ["kill", "signals the coordinator"],
    ["rawKill", "signals the coordinator by the function beneath it"],
    ["killElsewhere", "signals the coordinator from another context"],
    ["debug", "makes the coordinator open a debugger's port"],
    ["priority", "takes the coordinator's turn at the processor"],
    ["priorityByName", "does so by the import's own name"],
    ["flags", "changes what V8 guards"],
    ["chdir", "goes to a folder that it may not read"],
  ] as const)
    attack(`a recipe ${does}`, DENIED, () => {
      expect(outcomeOf(name)).toBe(DENIED);
    });

  attack("a recipe signals by a handle that was never started", "there is no such process", () => {
    expect(outcomeOf("signalHandle")).toBe("-3");
  });
  attack("a recipe puts back what signals", "it cannot be put back", () => {
    expect(outcomeOf("killAgain")).toMatch(/redefine/);
  });
  attack("a recipe loads an addon", "addons are off", () => {
    expect(outcomeOf("addon")).toBe("ERR_DLOPEN_DISABLED");
  });
  attack("a recipe opens a database, which knows no permissions", "there is no such module", () => {
    expect(outcomeOf("sqlite")).toBe("ERR_UNKNOWN_BUILTIN_MODULE");
  });
  attack("a recipe calls functions of C libraries", "there is no such module, or it is denied", () => {
    expect(["ERR_UNKNOWN_BUILTIN_MODULE", DENIED]).toContain(outcomeOf("ffi"));
  });
  attack("a recipe looks for secrets in the environment", "it has none of the coordinator's", () => {
    expect(outcomeOf("environment").split(",")).not.toContain("SANDBOX_TOKEN");
    expect(outcomeOf("environment").split(",")).not.toContain("SORTIE_HOME");
    expect(outcomeOf("environment").split(",")).not.toContain("PATH");
  });
  attack("a recipe reads what is typed to the coordinator", "its stdin is empty", () => {
    expect(outcomeOf("stdin")).toBe("0");
  });
  attack("a recipe changes what every object has", "the coordinator's objects are its own", () => {
    expect(({} as { polluted?: string }).polluted).toBeUndefined();
    expect(Object.hasOwn(opened.whole.jobs[0] as object, "polluted")).toBe(false);
  });

  it("reads its own repository, and nothing of what it tried came about", () => {
    expect(outcomeOf("readOwn")).toBe("readable");
    expect(existsSync(join(repository, "README"))).toBe(true);
    for (const made of ["written", "etc", "report.json", "heap"])
      expect(existsSync(join(repository, made))).toBe(false);
  });
});

describe("a sandboxed recipe that is loaded", () => {
  it("may follow a link that is in its repository: Node does not look where links lead", async () => {
    const opened = await open(`import fs from "node:fs";
      export default recipe({ a: job({ run: () => fs.readFileSync(${JSON.stringify(join(repository, "link.json"))}, "utf8") }) });`);
    expect(await call(opened, "a")).toBe('{"outside":true}');
    await opened.close();
  });

  attack("it reads a file as it is loaded", "SANDBOX_DENIED, with the file, the flag and its line", async () => {
    const error = await refused(
      `import fs from "node:fs";\n\nfs.readFileSync("/etc/passwd");\nexport default recipe({});`,
    );
    expect(error).toMatchObject({
      code: "SANDBOX_DENIED",
      message: "The recipe is in a sandbox, and may not read /etc/passwd.",
      hint: "--allow-read=/etc/passwd would allow it.",
      at: { file: join(repository, `recipe-${recipes}.ts`), line: 4 },
    });
  });

  attack("it has a file beside its repository bundled", "SANDBOX_DENIED", async () => {
    const error = await refused(
      `import all from "../outside.json";\nexport default recipe({ [all.outside]: job({ run: "a" }) });`,
    );
    expect(error).toMatchObject({ code: "SANDBOX_DENIED", hint: `--allow-read=${folder} would allow it.` });
  });

  attack("it has a link bundled that leads out of its repository", "SANDBOX_DENIED", async () => {
    const error = await refused(
      `import all from "./link.json";\nexport default recipe({ [all.outside]: job({ run: "a" }) });`,
    );
    expect(error).toMatchObject({
      code: "SANDBOX_DENIED",
      message: expect.stringContaining(join(folder, "outside.json")),
    });
  });

  attack(
    "a package.json of its repository is a link to what never ends, or a pipe",
    "SANDBOX_FAILED, and bundling is over",
    async () => {
      const sub = join(repository, "endless");
      mkdirSync(sub);
      writeFileSync(join(sub, "part.ts"), "export const part = 1;");
      symlinkSync("/dev/zero", join(sub, "package.json"));
      const importing = `import "./endless/part.ts"; export default recipe({ a: job({ run: "true" }) });`;
      const full = await refused(importing, {}, { memoryBytes: 192 * 2 ** 20 });
      expect(full).toMatchObject({
        code: "SANDBOX_FAILED",
        message: expect.stringContaining("than 192 MiB of memory"),
      });
      rmSync(join(sub, "package.json"));
      execFileSync("mkfifo", [join(sub, "package.json")]);
      const late = await refused(importing, {}, { loadMs: 1_100 });
      expect(late).toMatchObject({ code: "SANDBOX_FAILED", message: expect.stringContaining("than 1.1 s") });
      rmSync(sub, { recursive: true });
      await (await open(`export default recipe({ a: job({ run: "true" }) });`)).close();
    },
  );

  it("says where it is in its own names, and in text", async () => {
    const opened = await open(`import { dirname } from "node:path"; import { fileURLToPath } from "node:url";
      const __dirname = dirname(fileURLToPath(import.meta.url));
      const said = ["__dirname", 'import.meta.url'].join();
      const a = job({ run: ["echo", __dirname, import.meta.dirname, import.meta.filename, said] });
      export default recipe({ a });`);
    await opened.close();
    const file = join(repository, `recipe-${recipes}.ts`);
    expect(opened.whole.jobs[0]?.steps).toEqual([
      { argv: ["echo", repository, repository, file, "__dirname,import.meta.url"] },
    ]);
    expect(opened.whole.jobs[0]?.at).toEqual({ file, line: 5 });
  });

  attack("it loops for ever", "SANDBOX_FAILED when its time is up, and it is ended", async () => {
    // Bundling it has that time as well, and needs a hundredth.
    const error = await refused(`for (;;);`, {}, { loadMs: 3_000 });
    expect(error).toMatchObject({ code: "SANDBOX_FAILED", message: "The sandboxed recipe did not load within 3 s." });
  });

  attack("it awaits what never comes", "RECIPE_THREW, at once", async () => {
    const error = await refused(`await new Promise(() => {});\nexport default recipe({});`);
    expect(error).toMatchObject({ code: "RECIPE_THREW", at: { line: 2 } });
  });

  attack("it ends its process as if all were well", "SANDBOX_FAILED", async () => {
    const error = await refused(`process.exit(0);`);
    expect(error).toMatchObject({ code: "SANDBOX_FAILED", message: expect.stringContaining("ended by itself") });
  });

  attack("it lies in a folder called *, which Node takes for all that is beside it", "it is not loaded", async () => {
    mkdirSync(join(folder, "beside/*"), { recursive: true });
    writeFileSync(join(folder, "beside/secret"), "beside");
    const path = join(folder, "beside/*/recipe.ts");
    writeFileSync(path, `import fs from "node:fs"; fs.readFileSync("${folder}/beside/secret");`);
    const opened = await openSandbox(path, { grants: NOTHING }).catch(asSortieError);
    expect(opened).toMatchObject({ code: "USAGE", message: expect.stringContaining("a pattern") });
  });

  attack("it says that Sortie itself failed", "it is the recipe that failed", async () => {
    const error = await refused(
      saying(`say({ type: "failed", failure: { kind: "coded", code: "INTERRUPTED", message: "m", hint: "h" } });`),
    );
    expect(error.code).toBe("SANDBOX_FAILED");
  });

  attack(
    "it fills its heap",
    "SANDBOX_FAILED, and the coordinator goes on",
    async () => {
      const error = await refused(
        `const all = []; for (;;) all.push(new Array(1_000_000).fill(all.length));`,
        {},
        { heapBytes: 64 * 2 ** 20 },
      );
      expect(error).toMatchObject({ code: "SANDBOX_FAILED", message: expect.stringContaining("runs out of memory") });
    },
    60_000,
  );

  attack(
    "it fills memory that is not its heap",
    "SANDBOX_FAILED, and the coordinator goes on",
    async () => {
      const error = await refused(
        `const all = []; for (;;) { all.push(Buffer.alloc(8 * 2 ** 20, 1)); await new Promise((done) => setTimeout(done, 5)); }`,
        {},
        { memoryBytes: 256 * 2 ** 20 },
      );
      expect(error).toMatchObject({ code: "SANDBOX_FAILED", message: expect.stringMatching(/more than 256 MiB/) });
    },
    60_000,
  );

  attack("it floods its output, with what acts on a terminal", "a bounded part is shown, and harmless", async () => {
    printed.length = 0;
    const opened = await open(`
      for (let n = 0; n < 30_000; n++) console.log("\\u001b]52;c;aGk=\\u0007" + "x".repeat(100));
      export default recipe({ a: job({ run() {} }) });`);
    // Once nothing of a recipe is needed any more, as where no job is a function, what it has printed is read for a moment only.
    await until(
      () => printed.at(-1),
      (line) => line === "(it printed more than is shown)",
    );
    await opened.close();
    expect(printed.join("\n").length).toBeLessThan(1.2 * 2 ** 20);
    expect(printed.at(-1)).toBe("(it printed more than is shown)");
    expect(printed[0]).not.toMatch(/\p{Cc}/u);
  });

  attack("its keys are where it may read", "nothing is granted that holds them", async () => {
    const { grantedPath, ownFolderOf } = await import("../../coordinator/sandbox/grants.ts");
    expect(() => grantedPath("allow-read", "/")).toThrow(/the keys/);
    expect(() => grantedPath("allow-write", join(folder, "home/coordinator"))).toThrow(/the keys/);
    symlinkSync(join(folder, "home"), join(repository, "to-home"));
    expect(() => grantedPath("allow-read", join(repository, "to-home"))).toThrow(/the keys/);
    rmSync(join(repository, "to-home"));
    expect(ownFolderOf(join(folder, "recipe.ts"))).toBeUndefined();
    expect(ownFolderOf(join(repository, "recipe.ts"))).toBe(repository);
  });
});

/** A recipe that says this on the pipe that is its process's, in place of it, and then waits. */
const saying = (messages: string): string => `
  import { writeSync } from "node:fs";
  const bytes = (text) => { const json = Buffer.from(text); const head = Buffer.alloc(4); head.writeUInt32BE(json.length); return Buffer.concat([head, json]); };
  const write = (all) => { for (let at = 0; at < all.length; ) try { at += writeSync(3, all, at); } catch (error) { if (error.code !== "EAGAIN") throw error; } };
  const say = (message) => write(bytes(typeof message === "string" ? message : JSON.stringify(message)));
  const a = { name: "a", needs: [], on: { labels: {} }, steps: [{ shell: "true" }], env: [], graceMs: 1000 };
  const plan = () => say({ type: "planned", notify: [] });
  ${messages}
  setInterval(() => {}, 1000);
  await new Promise(() => {});`;

describe("what a sandboxed recipe's process says", () => {
  for (const [does, messages, says] of [
    ["a message of no known type", `say({ type: "run", command: "id" });`, /not for it to say/],
    ["a message of 4 GiB", `write(Buffer.from([255, 255, 255, 255]));`, /4294967295 bytes/],
    ["half of JSON", `say('{"type":"job",');`, /not JSON/],
    ["what is no UTF-8", `write(Buffer.from([0, 0, 0, 2, 0xff, 0xfe]));`, /not JSON/],
    [
      "a list 200,000 deep",
      `say("[".repeat(200_000) + "]".repeat(200_000));`,
      /SANDBOX|not JSON|deep|not for it to say/,
    ],
    [
      "a rule for a label that is 20,000 deep",
      `say('{"type":"job","job":{"name":"a","needs":[],"on":{"labels":{"os":' + '{"not":'.repeat(20_000) + "true" + "}".repeat(20_000) + '}},"steps":[{"shell":"true"}],"env":[],"graceMs":1}}');`,
      /deep|not for it to say/,
    ],
    ["a job with a field that no job has", `say({ type: "job", job: { ...a, run: "id" } });`, /not for it to say/],
    [
      "a job with a name that acts on a terminal",
      `say({ type: "job", job: { ...a, name: "a\\u001b[2J" } });`,
      /not for it to say/,
    ],
    ["a job named after another's log", `say({ type: "job", job: { ...a, name: "../../x" } });`, /not for it to say/],
    [
      "a job with LD_PRELOAD under a name that is none",
      `say({ type: "job", job: { ...a, env: [["A=B", "c"]] } });`,
      /not for it to say/,
    ],
    [
      "a job that takes 2 ** 60 slots",
      `say({ type: "job", job: { ...a, on: { labels: {}, slots: 2 ** 60 } } });`,
      /not for it to say/,
    ],
    [
      "a step whose program is a number",
      `say({ type: "job", job: { ...a, steps: [{ argv: [1] }] } });`,
      /not for it to say/,
    ],
    [
      "a secret that is a command",
      `say({ type: "job", job: { ...a, secrets: [{ name: "A", from: { command: ["id"] } }] } });`,
      /not for it to say/,
    ],
    [
      "a service's mount of everything, in a field of its own",
      `say({ type: "job", job: { ...a, container: { image: "alpine", binds: ["/:/"] } } });`,
      /not for it to say/,
    ],
    ["two jobs of one name", `say({ type: "job", job: a }); say({ type: "job", job: a }); plan();`, /one name/],
    ["a job that needs one that is not there", `say({ type: "job", job: { ...a, needs: ["b"] } }); plan();`, /no job/],
    [
      "jobs that need each other",
      `say({ type: "job", job: { ...a, needs: ["b"] } }); say({ type: "job", job: { ...a, name: "b", needs: ["a"] } }); plan();`,
      /circle/,
    ],
    ["a plan without a job", "plan();", /no jobs/],
    [
      "jobs without an end",
      `for (let n = 0; ; n++) say({ type: "job", job: { ...a, name: "a" + n } });`,
      /more than 20000 jobs/,
    ],
    [
      "a plan without an end",
      `for (let n = 0; ; n++) say({ type: "job", job: { ...a, name: "a" + n, steps: [{ shell: "x".repeat(4_000_000) }] } });`,
      /longer than 67108864/,
    ],
    [
      "a log where no function was called, and then nothing",
      `say({ type: "log", call: 7, id: 1, bytes: "eA==" }); say({ type: "describe" });`,
      /not for it to say/,
    ],
    [
      "what --help asks for, where it is to run",
      `say({ type: "described", takesParams: false, variables: {} });`,
      /something else than was asked/,
    ],
  ] as const)
    attack(
      `a recipe's process says ${does}`,
      "it is ended, and nothing of it is taken",
      async () => {
        const error = await refused(saying(messages));
        expect(error.message).toMatch(says);
        expect(["SANDBOX_FAILED", "RECIPE_INVALID", "RECIPE_CYCLE"]).toContain(error.code);
      },
      60_000,
    );

  attack("a job of that says __proto__", "no object gets it", async () => {
    const opened = await open(
      saying(
        `say('{"type":"job","job":{"__proto__":{"polluted":"yes"},"name":"a","needs":[],"on":{"labels":{"__proto__":"x"}},"steps":[{"shell":"true"}],"env":[],"outputs":{"__proto__":["x"]},"graceMs":1}}'); plan();`,
      ),
    ).catch(asSortieError);
    expect(({} as { polluted?: string }).polluted).toBeUndefined();
    if (!("close" in opened)) return expect(opened.code).toBe("SANDBOX_FAILED");
    const [job] = opened.whole.jobs;
    await opened.close();
    expect((job as unknown as { polluted?: string }).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(job?.on.labels)).not.toBe("x");
    expect(Object.keys(job?.outputs ?? {})).toEqual([]);
  });

  attack("a recipe plans a second time, once its run has begun", "it is ended; its function fails", async () => {
    const opened = await open(`import { writeSync } from "node:fs";
      const say = (message) => { const json = Buffer.from(JSON.stringify(message)); const head = Buffer.alloc(4); head.writeUInt32BE(json.length); writeSync(3, Buffer.concat([head, json])); };
      export default recipe({ a: job({ async run() { say({ type: "planned", notify: [] }); await new Promise(() => {}); } }) });`);
    await expect(call(opened, "a")).rejects.toMatchObject({
      code: "SANDBOX_FAILED",
      message: expect.stringContaining("twice"),
    });
    await opened.close();
  });

  attack("a function's process starts a command where the job has no place", "it is ended", async () => {
    const opened = await open(`export default recipe({ a: job({ run: ({ $ }) => $\`true\` }) });`);
    await expect(call(opened, "a")).rejects.toMatchObject({
      code: "SANDBOX_FAILED",
      message: expect.stringContaining("no place"),
    });
    await opened.close();
  });

  attack("a function says that it took what it never reads", "what its command wrote waits", async () => {
    const opened = await open(`import { writeSync } from "node:fs";
      const say = (message) => { const json = Buffer.from(JSON.stringify(message)); const head = Buffer.alloc(4); head.writeUInt32BE(json.length); const all = Buffer.concat([head, json]); for (let at = 0; at < all.length; ) try { at += writeSync(3, all, at); } catch (error) { if (error.code !== "EAGAIN") throw error; } };
      export default recipe({ a: job({ run() {
        say({ type: "start", call: 1, command: 1, place: 0, spec: { command: { argv: ["cat"] }, env: [], stdin: false, stdout: "passed", stderr: "shown", noted: false } });
        for (;;) say({ type: "took", command: 1, stream: "stdout" });
      } }) });`);
    const piece = new Uint8Array(2 ** 18);
    const full = Promise.withResolvers<number>();
    let pieces = 0;
    let cancelled = false;
    const starter: CommandStarter = {
      start(_, sink) {
        const end = Promise.withResolvers<Exit>();
        void (async () => {
          for (; pieces < 400 && !cancelled; pieces++) {
            const waits = setTimeout(() => full.resolve(pieces), 300);
            await sink.output("stdout", piece);
            clearTimeout(waits);
          }
          full.resolve(pieces);
          end.reject(new Error("cancelled"));
        })();
        return { end: end.promise, signal() {}, cancel: () => (cancelled = true) };
      },
    };
    const failing = expect(call(opened, "a", [starter])).rejects.toMatchObject({ code: "SANDBOX_FAILED" });
    expect(await full.promise).toBeLessThan(10);
    await opened.close();
    await failing;
    expect(cancelled).toBe(true);
  });

  attack(
    "a function returns, and takes nothing of what its command wrote",
    "its job waits for that no more",
    async () => {
      const opened = await open(`import { writeSync } from "node:fs";
      const say = (message) => { const json = Buffer.from(JSON.stringify(message)); const head = Buffer.alloc(4); head.writeUInt32BE(json.length); writeSync(3, Buffer.concat([head, json])); };
      export default recipe({ a: job({ run() {
        say({ type: "start", call: 1, command: 1, place: 0, spec: { command: { argv: ["cat"] }, env: [], stdin: false, stdout: "passed", stderr: "shown", noted: false } });
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
        say({ type: "returned", call: 1, returned: { kind: "value", value: 1 } });
        for (;;);
      } }) });`);
      const taken = Promise.withResolvers<void>();
      const starter: CommandStarter = {
        start(_, sink) {
          Promise.resolve(sink.output("stdout", new Uint8Array(2 ** 20))).then(taken.resolve);
          return { end: new Promise(() => {}), signal() {}, cancel() {} };
        },
      };
      expect(await call(opened, "a", [starter])).toBe(1);
      await taken.promise;
      await opened.close();
    },
  );

  attack("a function gives what is nested without an end", "its job fails, and not the run", () => {
    for (const depth of [2_000, 400_000])
      expect(outputOfFunction(JSON.parse("[".repeat(depth) + "]".repeat(depth)))).toEqual({
        problem: "what its function gave is nested too deeply",
      });
    expect(outputOfFunction(JSON.parse("[".repeat(400) + "]".repeat(400)))).toHaveProperty("value");
  });

  attack("a function gives jobs under names that are others'", "RECIPE_INVALID, and none joins", () => {
    const job = { name: "b", needs: [], on: { labels: {} }, steps: [{ shell: "true" }], env: [], graceMs: 1 };
    const by = { ...job, name: "a" };
    const given = (more: object): JobsElsewhere =>
      new JobsElsewhere({ jobs: [{ ...job, ...more }] as never, given: {} }, new Set(["a", "b"]) as never, () => {});
    const plan = { recipe: "/r.ts", jobs: [by, job], names: new Map() } as never;
    expect(() => given({}).planned(plan, by as never)).toThrow(/not called a\.NAME/);
    expect(() => given({ name: "a.x", needs: ["c"] }).planned(plan, by as never)).toThrow(/does not have/);
    expect(given({ name: "a.x", needs: ["b"] }).planned(plan, by as never).jobs).toMatchObject([{ needs: ["a", "b"] }]);
  });

  attack(
    "a function that loops holds up a condition",
    "that job fails when its time is up; the process is ended",
    async () => {
      const opened = await open(
        `export default recipe({ a: job({ run() { for (;;); } }), b: job({ if: () => true, run: "true" }) });`,
        {},
        { answersMs: 700 },
      );
      const looping = call(opened, "a").catch((error: SortieError) => error.message);
      const condition = opened.whole.jobs.find(({ name }) => name === "b")?.condition as {
        whyNot(context: object): Promise<unknown>;
      };
      expect(await condition.whyNot({ needs: [] })).toMatchObject({
        outcome: "failed",
        message: expect.stringContaining("0.7 s"),
      });
      expect(await looping).toContain("did not tell whether b runs");
      await opened.close();
    },
  );
});

describe("what a sandboxed recipe asks the coordinator to do", () => {
  const denied = async (
    options: string,
    what: RegExp,
    flag: RegExp,
    grants: Partial<SandboxGrants> = {},
  ): Promise<void> => {
    const error = await refused(`export default recipe({ a: job({ run: "true", ${options} }) });`, grants);
    expect(error).toMatchObject({
      code: "SANDBOX_DENIED",
      message: expect.stringMatching(what),
      hint: expect.stringMatching(flag),
    });
  };

  attack("a job asks for a secret of the coordinator's environment", "SANDBOX_DENIED", () =>
    denied(`env: { A: secret("SANDBOX_TOKEN") }`, /the secret SANDBOX_TOKEN/, /--allow-secret=SANDBOX_TOKEN/, {
      secret: ["OTHER"],
    }),
  );
  attack("a secret is called by a name that is granted, and read from another variable", "SANDBOX_DENIED", () =>
    denied(`env: { A: secret({ env: "SANDBOX_TOKEN", name: "OTHER" }) }`, /the secret SANDBOX_TOKEN/, /SANDBOX_TOKEN/, {
      secret: ["OTHER"],
    }),
  );

  attack("a secret is a file outside of what may be read", "SANDBOX_DENIED", () =>
    denied(
      `secrets: [secret({ name: "OTHER", file: "/etc/shadow" })]`,
      /read \/etc\/shadow/,
      /--allow-read=\/etc\/shadow/,
      {
        secret: ["OTHER"],
      },
    ),
  );

  attack("a secret is what a command prints on the coordinator", "SANDBOX_DENIED", () =>
    denied(`stdin: secret({ command: ["id", "-u"] })`, /have id run here for a secret/, /./, { secret: ["STDIN"] }),
  );

  attack("a job's other place asks for a secret", "SANDBOX_DENIED", async () => {
    const error = await refused(
      `export default recipe({ a: job({ run() {}, also: { b: { env: { A: secret("SANDBOX_TOKEN") } } } }) });`,
    );
    expect(error.code).toBe("SANDBOX_DENIED");
  });
  attack("a service of a job asks for a secret", "SANDBOX_DENIED", () =>
    denied(
      `container: { image: "alpine", services: { db: { image: "postgres", env: { A: secret("SANDBOX_TOKEN") } } } }`,
      /the secret/,
      /--allow-secret/,
    ),
  );
  attack("a job's stdin is a file of the coordinator's machine", "SANDBOX_DENIED", () =>
    denied(`stdin: { file: "/etc/passwd" }`, /read \/etc\/passwd/, /--allow-read=\/etc\/passwd/),
  );
  attack("a job's stdin is a link that leads out of the repository", "SANDBOX_DENIED", () =>
    denied(`stdin: { file: "link.json" }`, /link\.json/, /--allow-read/),
  );
  attack("a job has the whole disk watched", "SANDBOX_DENIED", () =>
    denied(`inputs: ["../../../../../../**"]`, /watched/, /--allow-read/),
  );
  attack("jobs name more files than can be looked up in a moment", "SANDBOX_FAILED", async () => {
    const { readableIn } = await import("../../coordinator/sandbox/grants.ts");
    const mayRead = readableIn([repository]);
    const path = (n: number): string => `${repository}${"/".repeat(n % 200)}${"/.".repeat(n / 200)}`;
    for (let n = 0; n < limits.sandboxPaths; n++) if (!mayRead(path(n))) throw new Error(path(n));
    expect(() => mayRead(join(repository, "README"))).toThrow(/more than 20000 files/);
    expect(mayRead(repository)).toBe(true);
  });
  attack("a job's stdin has a path of a megabyte", "it is not there, and nobody climbs it", async () => {
    const error = await refused(
      saying(
        `say({ type: "job", job: { ...a, steps: [{ argv: ["cat"] }], stdin: { file: "/" + "a/".repeat(500_000) } } }); plan();`,
      ),
    );
    expect(error.code).toBe("SANDBOX_DENIED");
  });
  attack("a job has a command run on the coordinator to tell somebody", "SANDBOX_DENIED, whatever is granted", () =>
    denied(`notify: { command: ["sh", "-c", "id"] }`, /have sh run here/, /Nothing allows that/, { net: true }),
  );
  attack("a job has an address told", "SANDBOX_DENIED", () =>
    denied(`notify: { url: "http://127.0.0.1/" }`, /posted/, /--allow-net/),
  );
  attack("a recipe has an address told that is a secret", "SANDBOX_DENIED, also with the network", async () => {
    const error = await refused(
      `export default recipe({ a: job({ run: "true" }) }, { notify: { url: secret("SANDBOX_TOKEN") } });`,
      { net: true },
    );
    expect(error.hint).toContain("--allow-secret=SANDBOX_TOKEN");
  });
  it("has an address told that is in a file of the repository, by its path from there", async () => {
    const text = (file: string): string =>
      `export default recipe({ a: job({ run: "true" }) }, { notify: { url: secret({ file: "${file}", name: "HOOK" }) } });`;
    const opened = await open(text("README"), { net: true });
    await opened.close();
    expect(opened.notify).toMatchObject([{ url: { source: { file: join(repository, "README") } } }]);
    const error = await refused(text("link.json"), { net: true });
    expect(error.message).toContain(join(folder, "outside.json"));
  });
  attack("a job cancels those of another recipe by the name of their group", "its groups are its own", async () => {
    const text = `export default recipe({ a: job({ run: "true", concurrency: { group: "deploy", when: "cancel-older" } }) });`;
    const [one, other] = [await open(text), await open(text)];
    expect(one.whole.jobs[0]?.group?.name).toMatch(/^sandbox:\w+:deploy$/);
    expect(one.whole.jobs[0]?.group?.name).not.toBe(other.whole.jobs[0]?.group?.name);
  });
  attack("a job says that it stands in another file", "no place is told", async () => {
    const opened = await open(
      saying(`say({ type: "job", job: { ...a, at: { file: "/etc/passwd", line: 1 } } }); plan();`),
    );
    await opened.close();
    expect(opened.whole.jobs[0]?.at).toBeUndefined();
  });

  it("does what was granted", async () => {
    const opened = await open(
      `import fs from "node:fs";
       fs.writeFileSync(${JSON.stringify(join(folder, "granted"))}, process.env.SANDBOX_TOKEN + fs.readFileSync(${JSON.stringify(join(folder, "outside.json"))}));
       export default recipe({ a: job({ run: "true", env: { A: secret("SANDBOX_TOKEN") }, stdin: { file: ${JSON.stringify(join(folder, "outside.json"))} } }) },
         { notify: { url: secret("SANDBOX_TOKEN") } });`,
      {
        read: [join(folder, "outside.json"), join(folder, "granted")],
        write: [join(folder, "granted")],
        net: true,
        env: ["SANDBOX_*"],
        secret: ["SANDBOX_TOKEN"],
      },
    );
    expect(readFileSync(join(folder, "granted"), "utf8")).toBe('hunter2-hunter2{"outside":true}');
    expect(opened.whole.jobs[0]).toMatchObject({ secrets: [{ name: "A", from: "SANDBOX_TOKEN" }] });
  });
});

describe("coordinator run --sandbox", () => {
  attack(
    "a recipe's jobs run what was not granted on this machine",
    "DENIED, with the flag; the rest runs",
    async () => {
      await using rig = new Rig();
      mkdirSync(join(rig.folder, "project"));
      const path = join(rig.folder, "project/recipe.ts");
      writeFileSync(
        path,
        `import { job, recipe } from "sortie";
      export default recipe({ fine: job({ run: ["echo", "fine"] }), not: job({ run: ["id"] }) });`,
      );
      const run = await rig.coordinator(["run", path, "--sandbox", "--allow-run=echo"]);
      expect(run.text).toContain("fine");
      expect(run.text).toMatch(/not +│.*--allow-run=id on this command line would allow it/);
      expect(run.code).toBe(3);
      const without = await rig.coordinator(["run", path, "--allow-run=echo"]);
      expect(without.code).toBe(2);
      expect(without.stderr).toContain("--allow-run is for a recipe in a sandbox");
    },
  );

  attack("a coordinator is killed, and its sandboxed run resumed", "the recipe is in its sandbox again", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1");
    mkdirSync(join(rig.folder, "project"));
    const path = join(rig.folder, "project/recipe.ts");
    const go = join(rig.folder, "go");
    writeFileSync(
      path,
      `import fs from "node:fs"; import { job, recipe } from "sortie";
      const a = job({ run: \`until [ -e ${go} ]; do sleep 0.0113; done\` });
      export default recipe({ a, b: job({ needs: [a], run() { try { return "read " + fs.readFileSync("/etc/passwd", "utf8").length; } catch (error) { return error.code; } } }) });`,
    );
    const live = rig.spawnCoordinator(["run", path, "--sandbox", "--format", "json"]);
    await live.waitFor(/"job-started"[^\n]*"job":"a"/);
    live.child.kill("SIGKILL");
    await live.ended;
    writeFileSync(go, "");
    const resumed = await rig.coordinator(["resume", "last", "--format", "json"]);
    expect(resumed.stderr).toBe("");
    expect(endsIn(resumed.text).get("b")).toMatchObject({ outcome: "passed", output: "ERR_ACCESS_DENIED" });
    expect(resumed.code).toBe(0);
  });
});
