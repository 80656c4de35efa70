import { describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { createSlowdown, hostOf } from "../../protocol/slowdown.ts";

describe("a host whose pairings fail", () => {
  it("waits from the fifth failure on, twice as long for each one more, and is forgotten in the end", () => {
    let now = 0;
    const slowdown = createSlowdown(() => now);
    for (let failure = 1; failure < 5; failure++) slowdown.failed("a");
    expect(slowdown.slowed("a")).toBe(false);
    let wait: number = limits.failedPairingsWaitMs;
    for (let failure = 5; failure < 10; failure++, wait *= 2) {
      slowdown.failed("a");
      now += wait - 1;
      expect(slowdown.slowed("a")).toBe(true);
      now += 1;
      expect(slowdown.slowed("a")).toBe(false);
    }
    expect(slowdown.slowed("b")).toBe(false);
    for (let failure = 0; failure < 2_000; failure++) slowdown.failed("a");
    now += limits.failedPairingsWindowMs - 1;
    expect(slowdown.slowed("a")).toBe(true);
    now += 1;
    slowdown.failed("a");
    expect(slowdown.slowed("a")).toBe(false);
  });

  it("is remembered among so many, and those that failed longest ago go first", () => {
    const slowdown = createSlowdown(() => 0);
    const fail = (host: string): void => {
      for (let failure = 0; failure < 5; failure++) slowdown.failed(host);
    };
    fail("first");
    fail("second");
    slowdown.failed("first");
    for (let host = 0; host < limits.failedPairingsHosts - 1; host++) slowdown.failed(`host ${host}`);
    expect([slowdown.slowed("first"), slowdown.slowed("second")]).toEqual([true, false]);
  });

  it("is an IPv4 address however it is written, and half of an IPv6 address", () => {
    expect(hostOf("192.0.2.1")).toBe("192.0.2.1");
    expect(hostOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
    for (const one of ["2001:db8:0:1::7", "2001:DB8:0:1:ffff::", "2001:0db8:0000:0001:1:2:3:4"])
      expect(hostOf(one)).toBe("2001:db8:0:1::/64");
    expect(hostOf("2001:db8::1")).toBe("2001:db8:0:0::/64");
    expect(hostOf("::1")).toBe("0:0:0:0::/64");
  });
});
