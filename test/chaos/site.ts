// Where rounds happen: one runner, front and keeper, and a coordinator's folder, paired through a proxy. It serves round
// after round; what a fault takes away here it brings back.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { callJson } from "../../protocol/make-call.ts";
import type { JsonOperationId } from "../../protocol/messages.ts";
import { socketChannel } from "../../protocol/socket-channel.ts";
import { socketPath } from "../../runner/keeper/keeper-socket.ts";
import { openFilesOf } from "../rig/processes.ts";
import { type CuttingProxy, openProxy, portOf, through } from "../rig/proxy.ts";
import { Rig, type RunnerProcess, until } from "../rig/rig.ts";

export type Side = "runner" | "coordinator";
/** What faults-preload.mjs looks at. */
export type Condition = "full" | "back";

/** A peer that says nothing for so long is looked for anew: short, for the rounds to be short. */
export const SILENCE = "1s";
const SLOTS = 3;
/** A front that cannot start is tried again for so long: faults are over sooner. */
const STARTS_WITHIN_MS = 10_000;
/** Lines of each process that are shown where something went wrong. */
const SHOWN_LINES = 40;
export const lastLines = (text: string): string[] => text.trimEnd().split("\n").slice(-SHOWN_LINES);
const preload = pathToFileURL(join(import.meta.dirname, "faults-preload.mjs")).href;

export class Site {
  readonly rig = new Rig();
  readonly proxy: CuttingProxy;
  readonly #flags = join(this.rig.folder, "flags");
  readonly #runnerHome = join(this.rig.folder, "w1");
  readonly #fronts: RunnerProcess[] = [];
  /** Fronts are killed and started one after the other. */
  #changing: Promise<void> = Promise.resolve();

  private constructor(proxy: CuttingProxy) {
    this.proxy = proxy;
  }

  static async open(): Promise<Site> {
    // Each front has a port of its own: somebody else may have taken that of one that was killed.
    const site: Site = new Site(await openProxy(() => portOf(site.#fronts.at(-1)?.address ?? "")));
    mkdirSync(site.#flags);
    const front = await site.#start();
    const added = await site.rig.coordinator(["add", through(site.proxy.port, front.invite)]);
    if (added.code !== 0) throw new Error(`pairing failed: ${added.stderr}`);
    return site;
  }

  async #start(): Promise<RunnerProcess> {
    const args = ["-A", "--slots", String(SLOTS), "--silence-after", SILENCE];
    const env = this.environment("runner");
    const front = await this.rig.startRunner("w1", args, this.#runnerHome, { env });
    this.#fronts.push(front);
    return front;
  }

  /** What the last two fronts and the keepers said. */
  words(): string[] {
    return [
      ...this.#fronts.slice(-2).flatMap((front) => ["front:", ...lastLines(front.stderr())]),
      "keepers:",
      ...lastLines(readFileSync(join(this.#keeper, "keeper.log"), "utf8")),
    ];
  }

  /** For the commands of a side. A job gets nothing of it: its environment is clean. */
  environment(side: Side): Record<string, string> {
    return {
      NODE_OPTIONS: `--import ${preload}`,
      SORTIE_CHAOS_FULL: this.#flag(side, "full"),
      SORTIE_CHAOS_BACK: this.#flag(side, "back"),
    };
  }

  #flag = (side: Side, condition: Condition): string => join(this.#flags, `${side}-${condition}`);

  set(side: Side, condition: Condition, holds: boolean): void {
    if (holds) writeFileSync(this.#flag(side, condition), "");
    else rmSync(this.#flag(side, condition), { force: true });
  }

  /** Kills the front, and starts it anew after the pause: to the coordinator, at the same address. */
  restartFront(pauseMs: number): Promise<void> {
    this.#changing = this.#changing.then(async () => {
      const front = this.#fronts.at(-1);
      front?.child.kill("SIGKILL");
      await front?.ended;
      await delay(pauseMs);
      const givesUp = performance.now() + STARTS_WITHIN_MS;
      for (;;) {
        try {
          await this.#start();
          return;
        } catch (error) {
          // With a full disk it cannot start, as its supervisor would see.
          if (performance.now() > givesUp) throw error;
          await delay(200);
        }
      }
    });
    return this.#changing;
  }

  /** Its process, or one that is gone. */
  get keeperPid(): number {
    return Number.parseInt(readFileSync(join(this.#keeper, "lock"), "latin1"), 10);
  }

  killKeeper(): boolean {
    try {
      return process.kill(this.keeperPid, "SIGKILL");
    } catch {
      // The one before was killed just now.
      return false;
    }
  }

  get #keeper(): string {
    return join(this.#runnerHome, "runner", "keeper");
  }

  get journals(): string {
    return join(this.#keeper, "journals");
  }

  get logs(): string {
    return join(this.rig.home, "coordinator", "logs");
  }

  async askKeeper<Id extends JsonOperationId>(operation: Id, input: Parameters<typeof callJson<Id>>[2]) {
    const socket = connect(socketPath(this.#keeper));
    return callJson(socketChannel(socket), operation, input);
  }

  /** What of jobs is still there: directories, pipes and journals that are open, connections. Waits a while for none. */
  async left(): Promise<string[]> {
    const look = async (): Promise<string[]> => {
      const left: string[] = [];
      try {
        left.push(...readdirSync(join(this.#keeper, "work")).map((name) => `the folder work/${name}`));
        const { running } = await this.askKeeper("/keeper/info", {});
        if (running > 0) left.push(`${running} running jobs`);
        for (const target of openFilesOf(this.keeperPid)) {
          if (target.startsWith(join(this.#keeper, "pipes")) || target.startsWith(this.journals))
            left.push(`the keeper's descriptor of ${target}`);
        }
      } catch (error) {
        left.push(`a keeper that does not answer: ${String(error)}`);
      }
      if (this.proxy.open > 0) left.push(`${this.proxy.open} connections`);
      return left;
    };
    return until(look, (left) => left.length === 0);
  }

  async close(): Promise<void> {
    await this.#changing.catch(() => {});
    await this.proxy.close();
    await this.rig[Symbol.asyncDispose]();
  }
}
