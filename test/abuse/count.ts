// Prints, after a test run, how many attacks of test/abuse were tried and how many held.
import type { Reporter, TestModule } from "vitest/node";

export default class AttackCount implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const cases = modules
      .filter((module) => module.moduleId.includes("/test/abuse/"))
      .flatMap((module) => [...module.children.allTests()])
      .filter((test) => test.result().state !== "skipped");
    if (cases.length === 0) return;
    const held = cases.filter((test) => test.result().state === "passed");
    console.log(`attacks: ${cases.length} tried, ${held.length} held`);
  }
}
