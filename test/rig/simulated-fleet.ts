// A fleet of runners without machines: each answers /job/run over a channel in memory, through the real call layer, keeps
// to its slots, and ends each job a moment later with the exit that a runner would send. For tests and measurements of the
// coordinator at sizes that no test machine has.
import type { KnownRunner } from "../../coordinator/fleet.ts";
import type { Handlers } from "../../protocol/call.ts";
import { encodeChunk, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import type { JobRequest, RunnerInfo } from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";

export interface SimulatedRunner extends KnownRunner {
  /** Jobs that it took, by name, in order. */
  readonly took: string[];
  /** The most slots that were taken at once. */
  readonly most: number;
  /** How often a job came that it had no slots for. */
  readonly refused: number;
}

export interface SimulatedJob {
  readonly output?: string;
  readonly code?: number;
  /** How long it runs; default: until the next turn of the event loop. */
  readonly until?: Promise<void>;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function simulatedRunner(
  name: string,
  slots: number,
  labels: Record<string, string> = {},
  play: (request: JobRequest) => SimulatedJob = () => ({}),
): SimulatedRunner {
  const state = { most: 0, refused: 0, busy: 0 };
  const took: string[] = [];
  const info: RunnerInfo = { name, version: "0.0.0", labels, slots, busy: 0, draining: false } as RunnerInfo;

  const handlers: Handlers = {
    async "/job/run"({ request }, _caller, accept) {
      const asked = request.slots ?? 1;
      if (state.busy + asked > slots) {
        state.refused++;
        throw new SortieError("RUNNER_FULL", `${name} has no slot left.`);
      }
      state.busy += asked;
      state.most = Math.max(state.most, state.busy);
      took.push(request.job);
      const { output = "", code = 0, until = nextTurn() } = play(request);
      const carriage = await accept({ attemptId: request.attemptId });
      await carriage.write(encodeControl({ type: "started", at: Date.now(), attemptId: request.attemptId }));
      await until;
      const tally = new OutputTally();
      const stdout = Buffer.from(output);
      if (stdout.length > 0) {
        tally.add(STDOUT, stdout);
        await carriage.write(encodeChunk(STDOUT, stdout));
      }
      // The slots are free before the exit is told, as a runner's are: whoever hears of the one may use the other.
      state.busy -= asked;
      const { bytes } = tally;
      await carriage.write(encodeControl({ type: "exit", reason: "exited", code, step: 0, bytes, hash: tally.hash() }));
      await carriage.close();
    },
  };

  return {
    id: name,
    name,
    info,
    roundTripMs: 0,
    took,
    get most() {
      return state.most;
    },
    get refused() {
      return state.refused;
    },
    async open() {
      const [ours, theirs] = memoryChannelPair();
      void serveCall(theirs, handlers, { peer: "simulated", name: "the coordinator" });
      return ours;
    },
  };
}
