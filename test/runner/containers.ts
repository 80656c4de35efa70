// Drives the container backend as the keeper does (open, start, end, close), against each engine of the rig.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import type { Command } from "../../protocol/command.ts";
import type { Confinement } from "../../protocol/confinement.ts";
import type { Ending } from "../../protocol/exit.ts";
import { newAttemptId, newRunId } from "../../protocol/ids.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { Container, Service } from "../../protocol/place.ts";
import type { Backend, RunningCommand, Settled, Site, SiteEvents } from "../../runner/keeper/backends/backend.ts";
import { containerBackend } from "../../runner/keeper/backends/container/container.ts";
import { containerOf } from "../parity/container.ts";
import { call, type EngineKind, IMAGE, testEngine } from "../rig/engine.ts";

export interface Given extends Partial<Omit<JobRequest, "container" | "steps">> {
  readonly confine?: Confinement;
  readonly container?: Partial<Container>;
  readonly steps?: readonly (string | readonly string[])[];
}

export const commandOf = (step: string | readonly string[]): Command =>
  typeof step === "string" ? { shell: step } : { argv: [...step] };

export function requestOf({ container, steps = ["true"], confine: _, ...given }: Given = {}): JobRequest {
  return {
    attemptId: newAttemptId(),
    run: newRunId(),
    job: "job" as JobRequest["job"],
    attempt: 1,
    steps: steps.map(commandOf),
    env: [],
    graceMs: 5_000,
    stdin: false,
    ...given,
    container: containerOf(IMAGE, container),
  };
}

export const service = (given: Partial<Service> & Pick<Service, "name">): Service => ({
  image: IMAGE,
  pull: "never",
  env: [],
  tmpfs: [],
  limits: {},
  healthyWithinMs: 50_000,
  ...given,
});

export interface Result {
  readonly settled: Settled;
  readonly stdout: string;
  readonly stderr: string;
  readonly ending?: Ending;
}

/** Reads both outputs to their end. */
export async function collect(running: RunningCommand): Promise<Result> {
  const outputs = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  running.stdout.on("data", (bytes: Buffer) => outputs.stdout.push(bytes));
  running.stderr.on("data", (bytes: Buffer) => outputs.stderr.push(bytes));
  const settled = await running.settled;
  return { settled, stdout: String(Buffer.concat(outputs.stdout)), stderr: String(Buffer.concat(outputs.stderr)) };
}

/** Resolves once stdout has the text; goes on reading. Rejects where it ends without. */
export const says = (running: RunningCommand, text: string): Promise<void> =>
  new Promise((resolve, reject) => {
    let said = "";
    running.stdout.on("data", (bytes: Buffer) => {
      said += String(bytes);
      if (said.includes(text)) resolve();
    });
    running.stdout.once("end", () => reject(new Error(`it ended, and said ${JSON.stringify(said)}`)));
  });

export class Containers {
  readonly host: string;
  /** Files run side by side on one engine. */
  readonly owner = `the-tests-${newRunId()}`;
  readonly folder = mkdtempSync(join(tmpdir(), "sortie-containers-"));
  readonly backend: Backend;
  readonly notes: string[] = [];
  readonly marks: string[] = [];
  readonly logged: string[] = [];
  readonly events: SiteEvents = {
    note: (from, text) => this.notes.push(...text.split("\n").map((line) => `${from}: ${line}`)),
    mark: (text) => this.marks.push(text),
  };

  constructor(host: string) {
    this.host = host;
    this.backend = containerBackend({ owner: this.owner, log: (line) => this.logged.push(line) });
  }

  workspace(request: JobRequest): string {
    const path = join(this.folder, request.attemptId);
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  async open(
    request: JobRequest,
    cancelled = new AbortController().signal,
    confine: Confinement | undefined = undefined,
  ): Promise<Site> {
    return this.backend.open(request, this.workspace(request), this.events, cancelled, confine);
  }

  /** Every step, until one does not exit 0; results of those that ran. */
  async run(given: Given, input?: Uint8Array): Promise<Result[]> {
    const request = requestOf({ ...given, ...(input ? { stdin: true } : {}) });
    const site = await this.open(request, undefined, given.confine);
    const results: Result[] = [];
    try {
      for (const step of request.steps) {
        const running = await site.start({ command: step, stdin: request.stdin }, new AbortController().signal);
        running.stdin?.on("error", () => {});
        running.stdin?.end(input);
        const result = await collect(running);
        results.push(result);
        if (result.settled.kind !== "exited" || result.settled.code !== 0) break;
      }
    } finally {
      await site.end();
      await site.close();
    }
    return results;
  }

  /** One step with sh, and what it wrote. */
  async sh(script: string, given: Given = {}, input?: Uint8Array): Promise<Result> {
    const [result] = await this.run({ ...given, steps: [script] }, input);
    if (!result) throw new Error("no step was run");
    return result;
  }

  /** Starts one step, uses it, and takes the site down. */
  async with<T>(given: Given, use: (running: RunningCommand, site: Site) => Promise<T>): Promise<T> {
    const request = requestOf(given);
    const site = await this.open(request, undefined, given.confine);
    try {
      const running = await site.start(
        { command: request.steps[0] as Command, stdin: request.stdin },
        new AbortController().signal,
      );
      running.stdin?.on("error", () => {});
      return await use(running, site);
    } finally {
      await site.end();
      await site.close();
    }
  }

  /** Everything labelled on the engine, of the attempt or of all. */
  async left(attempt?: string): Promise<string[]> {
    const labels = [`sortie.owner=${this.owner}`, ...(attempt ? [`sortie.attempt=${attempt}`] : [])];
    const filters = `filters=${encodeURIComponent(JSON.stringify({ label: labels }))}`;
    const lists = await Promise.all(
      [
        `/containers/json?all=1&${filters}`,
        `/images/json?all=1&${filters}`,
        `/networks?${filters}`,
        `/volumes?${filters}`,
      ].map(async (path) => JSON.parse((await call(this.host, "GET", path)).text) as unknown),
    );
    const found = lists.flatMap((list) =>
      Array.isArray(list) ? list : ((list as { Volumes?: unknown[] }).Volumes ?? []),
    );
    return found.map((one) => JSON.stringify(one));
  }

  async close(): Promise<void> {
    await this.backend.close();
    rmSync(this.folder, { recursive: true });
  }
}

/** The same tests against each engine that can be had; the others are told with one line. */
export async function withEngines(
  kinds: readonly EngineKind[],
  tests: (containers: () => Containers, kind: EngineKind) => void,
): Promise<void> {
  for (const kind of kinds) {
    const engine = await testEngine(kind);
    const missing = "missing" in engine ? engine.missing : undefined;
    if (missing !== undefined) console.warn(`left out: containers with ${kind}, because ${missing}`);
    describe.skipIf(missing !== undefined)(`with ${kind}`, () => {
      let containers: Containers;
      const before = process.env["DOCKER_HOST"];
      beforeAll(() => {
        const host = "host" in engine ? engine.host : "";
        process.env["DOCKER_HOST"] = host;
        containers = new Containers(host);
      });
      afterAll(async () => {
        if (before === undefined) delete process.env["DOCKER_HOST"];
        else process.env["DOCKER_HOST"] = before;
        await containers.close();
      });
      tests(() => containers, kind);
    });
  }
}
