// One named attack with the refusal that is expected of it. count.ts prints how many were tried, and how many held.
import { it } from "vitest";

/**
 * Defines a case: `name` says what the attacker does, `refusal` what stops it; the function makes the attack with real parts and
 * asserts the refusal, and that those it should not touch go on.
 */
export function attack(name: string, refusal: string, attempt: () => Promise<void> | void, timeoutMs?: number): void {
  it(`${name} → ${refusal}`, attempt, timeoutMs);
}
