// Container engines for the tests: the one that DOCKER_HOST or Docker's own socket gives, else a private dockerd; and a
// private Podman service. Each is started once in a run of the tests, by the first file that needs it, and ended by
// global-setup.ts. Their one image, `sortie-test`, is busybox and nothing else: no registry is in reach.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { hasEnded, processStat } from "../../protocol/process-stat.ts";
import { allProcesses, argumentsOf } from "./processes.ts";

export const IMAGE = "sortie-test";
/** The same with an entrypoint, a command, a variable and a volume of its own. */
export const FURNISHED_IMAGE = "sortie-test-furnished";
const FURNITURE = [
  'ENTRYPOINT ["/bin/echo","of","the","image"]',
  'CMD ["its-command"]',
  "ENV FROM_IMAGE=yes",
  "VOLUME /data",
];
/** Where engines of this run live; set by global-setup.ts for the files it starts. */
const FOLDER = "SORTIE_TEST_ENGINES";
const PREFIX = "sortie-engines-";
/** The process that runs the tests, and since when. */
const RUN = "run";
const UP_WITHIN_MS = 45_000;

export type EngineKind = "docker" | "podman";
/** `host` is for DOCKER_HOST; or why there is no such engine here. */
export type TestEngine = { readonly host: string } | { readonly missing: string };

/** Before the tests: makes the folder that engines are started in. Gives what ends them again. */
export function prepareEngines(): () => Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), PREFIX));
  writeFileSync(join(folder, RUN), `${process.pid} ${processStat(process.pid)?.began}`);
  process.env[FOLDER] = folder;
  return async () => {
    await endEngines(folder);
    await endAbandoned();
  };
}

/** Those of a run that was killed before it could end them. */
async function endAbandoned(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((one) => one.startsWith(PREFIX))) {
    const folder = join(tmpdir(), name);
    try {
      const [pid, began] = readFileSync(join(folder, RUN), "utf8").split(" ");
      if (processStat(Number(pid))?.began !== began) await endEngines(folder);
    } catch {
      // It is being made, or ended by another run.
    }
  }
}

/** Starts the engine where this run has not done so yet. In CI one that cannot be had is a failure. */
export async function testEngine(kind: EngineKind): Promise<TestEngine> {
  const engine = await withLock(kind, async () => {
    const known = join(engines(), `${kind}.json`);
    if (existsSync(known)) return JSON.parse(readFileSync(known, "utf8")) as TestEngine;
    const found: TestEngine = await startEngine(kind).catch((error: Error) => ({ missing: error.message }));
    writeFileSync(known, JSON.stringify(found));
    return found;
  });
  if ("missing" in engine && process.env["CI"]) throw new Error(`no ${kind} engine: ${engine.missing}`);
  return engine;
}

function engines(): string {
  const folder = process.env[FOLDER];
  if (!folder) throw new Error(`${FOLDER} is not set: global-setup.ts sets it`);
  return folder;
}

async function startEngine(kind: EngineKind): Promise<TestEngine> {
  const given = kind === "docker" ? givenDocker() : undefined;
  const host = given ?? (await startPrivate(kind));
  await importImage(host);
  return { host };
}

function givenDocker(): string | undefined {
  if (process.env["DOCKER_HOST"]) return process.env["DOCKER_HOST"];
  return existsSync("/var/run/docker.sock") ? "unix:///var/run/docker.sock" : undefined;
}

async function startPrivate(kind: EngineKind): Promise<string> {
  const program = kind === "docker" ? "dockerd" : "podman";
  if (process.getuid?.() !== 0) throw new Error(`a private ${program} needs root`);
  if (!onPath(program)) throw new Error(`there is no ${program}`);
  const folder = join(engines(), kind);
  mkdirSync(folder);
  const socket = join(folder, "sock");
  const [args, env] = kind === "docker" ? dockerArguments(folder, socket) : podmanArguments(folder, socket);
  const log = openSync(join(folder, "log"), "a");
  const child = spawn(program, args, {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  let why = "";
  child.on("error", (error) => {
    why = error.message;
  });
  child.on("exit", (code) => {
    why ||= `it exited with ${code}`;
  });
  child.unref();
  writeFileSync(join(folder, "pid"), `${child.pid} ${processStat(child.pid ?? 0)?.began}`);
  const givesUp = Date.now() + UP_WITHIN_MS;
  while (!(await answers(socket))) {
    if (why || Date.now() > givesUp)
      throw new Error(`${program} did not come up: ${why} ${lastLine(join(folder, "log"))}`);
    await delay(50);
  }
  return `unix://${socket}`;
}

/** Another dockerd may run: this one has no default bridge, and addresses of its own. */
function dockerArguments(folder: string, socket: string): [string[], NodeJS.ProcessEnv] {
  return [
    [
      ...[
        "--data-root",
        join(folder, "data"),
        "--exec-root",
        join(folder, "exec"),
        "--pidfile",
        join(folder, "pidfile"),
      ],
      ...["--host", `unix://${socket}`, "--bridge", "none", "--ip-forward=false"],
      ...["--default-address-pool", "base=10.231.0.0/16,size=24"],
    ],
    {},
  ];
}

/** Its usual limits are more than this machine's root may have, where that is in a container itself. */
function podmanArguments(folder: string, socket: string): [string[], NodeJS.ProcessEnv] {
  const configuration = join(folder, "containers.conf");
  writeFileSync(
    configuration,
    `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_config_dir = "${join(folder, "networks")}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "${join(folder, "tmp")}"
`,
  );
  return [
    [
      ...["--root", join(folder, "root"), "--runroot", join(folder, "run")],
      ...["system", "service", "--time", "0", `unix://${socket}`],
    ],
    { CONTAINERS_CONF: configuration },
  ];
}

async function importImage(host: string): Promise<void> {
  const folder = mkdtempSync(join(engines(), "image-"));
  const busybox = onPath("busybox");
  if (!busybox) throw new Error("there is no busybox");
  for (const name of ["bin", "tmp", "etc", "root"]) mkdirSync(join(folder, name));
  chmodSync(join(folder, "tmp"), 0o1777);
  chmodSync(join(folder, "root"), 0o700);
  copyFileSync(busybox, join(folder, "bin/busybox"));
  for (const applet of String(execFileSync(busybox, ["--list"]))
    .trim()
    .split("\n"))
    if (applet !== "busybox") symlinkSync("busybox", join(folder, "bin", applet));
  writeFileSync(join(folder, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
  writeFileSync(join(folder, "etc/group"), "root:x:0:\nnobody:x:65534:\n");
  const archive = execFileSync("tar", ["--owner=0", "--group=0", "-C", folder, "-c", "."], { maxBuffer: 64 << 20 });
  rmSync(folder, { recursive: true });
  for (const [name, changes] of [
    [IMAGE, ""],
    [FURNISHED_IMAGE, FURNITURE.map((one) => `&changes=${encodeURIComponent(one)}`).join("")],
  ]) {
    const { status, text } = await call(
      host,
      "POST",
      `/images/create?fromSrc=-&repo=${name}&tag=latest${changes}`,
      archive,
    );
    if (status !== 200 || text.includes('"error"')) throw new Error(`the image could not be imported: ${text}`);
  }
}

/** A call to an engine's API, past the library and the backend. */
export function call(
  host: string,
  method: string,
  path: string,
  body?: Buffer,
): Promise<{ status: number; text: string }> {
  const where = host.startsWith("unix://")
    ? { socketPath: host.slice("unix://".length) }
    : { host: new URL(host).hostname, port: new URL(host).port };
  return new Promise((resolve, reject) => {
    const asking = request({ ...where, method, path, agent: false, headers: { "Content-Type": "application/x-tar" } });
    asking.on("response", (response) => {
      let text = "";
      response.on("data", (part: Buffer) => {
        text += String(part);
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asking.on("error", reject);
    asking.end(body);
  });
}

const answers = (socket: string): Promise<boolean> =>
  call(`unix://${socket}`, "GET", "/_ping").then(
    ({ status }) => status === 200,
    () => false,
  );

/** One file at a time starts an engine; a folder is made by one only. */
async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const lock = join(engines(), `${name}.lock`);
  const givesUp = Date.now() + 2 * UP_WITHIN_MS;
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      if (Date.now() > givesUp) throw new Error(`${lock} is held for too long`);
      await delay(50);
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true });
  }
}

async function endEngines(folder: string): Promise<void> {
  for (const kind of ["docker", "podman"]) {
    const own = join(folder, kind);
    if (!existsSync(join(own, "pid"))) {
      await forgetImage(`${own}.json`);
      continue;
    }
    const [pid, began] = readFileSync(join(own, "pid"), "utf8").split(" ");
    if (kind === "podman") await removeContainers(`unix://${join(own, "sock")}`);
    await end(Number(pid), began);
  }
  await endHelpers(folder);
  // What an engine that was killed left mounted.
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n").reverse()) {
    const target = line.split(" ")[1] ?? "";
    if (target.startsWith(`${folder}/`)) spawnSync("umount", ["--lazy", target]);
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

/** An engine that was there before stays as it was. */
async function forgetImage(known: string): Promise<void> {
  const engine = existsSync(known) ? (JSON.parse(readFileSync(known, "utf8")) as TestEngine) : { missing: "" };
  for (const image of [IMAGE, FURNISHED_IMAGE])
    if ("host" in engine) await call(engine.host, "DELETE", `/images/${image}?force=1`).catch(() => {});
}

/** Podman's containers run without it, and would go on. */
async function removeContainers(host: string): Promise<void> {
  const list = await call(host, "GET", "/containers/json?all=1").catch(() => undefined);
  if (list?.status !== 200) return;
  for (const { Id } of JSON.parse(list.text) as { Id: string }[])
    await call(host, "DELETE", `/containers/${Id}?force=1&v=1`).catch(() => {});
}

/**
 * What watches a container, and cleans up after it, goes on without its engine, and writes in the folder: each has that
 * among its arguments.
 */
async function endHelpers(folder: string): Promise<void> {
  const killsAt = Date.now() + 5_000;
  for (const givesUp = killsAt + 5_000; Date.now() < givesUp; await delay(50)) {
    const left = allProcesses().filter((pid) => argumentsOf(pid).includes(`${folder}/`));
    if (left.length === 0) return;
    if (Date.now() < killsAt) continue;
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended meanwhile.
      }
    }
  }
}

async function end(pid: number, began: string | undefined): Promise<void> {
  const lives = (): boolean => {
    const stat = processStat(pid);
    return stat !== undefined && stat.began === began && !hasEnded(stat);
  };
  for (const [signal, within] of [
    ["SIGTERM", 20_000],
    ["SIGKILL", 5_000],
  ] as const) {
    if (!lives()) return;
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended meanwhile.
    }
    for (const givesUp = Date.now() + within; lives() && Date.now() < givesUp; ) await delay(20);
  }
}

const onPath = (program: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/sbin"]
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));

const lastLine = (path: string): string => readFileSync(path, "utf8").trim().split("\n").at(-1) ?? "";
