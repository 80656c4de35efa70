// The suite in containers of one kind of engine.
import { describe, it } from "vitest";
import { type EngineKind, IMAGE, testEngine } from "../rig/engine.ts";
import { containerOf } from "./container.ts";
import { paritySuite } from "./suite.ts";

export async function engineSuite(kind: EngineKind, label?: string): Promise<void> {
  const engine = await testEngine(kind);
  if ("missing" in engine) {
    describe.skip(`a job, ${kind}: ${engine.missing}`, () => it("is left out", () => {}));
    return;
  }
  const open = async () => {
    process.env["DOCKER_HOST"] = engine.host;
    return { container: containerOf(IMAGE) };
  };
  paritySuite("container", open, label);
}
