// A real NAT for tests, of network namespaces: the runner's reaches the coordinator's by a router that hides it, and nothing
// reaches the runner's. Needs root, iproute2 and iptables.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";

/** Why there can be none here; undefined where there can. */
export const whyNoNat = (): string | undefined =>
  process.getuid?.() === 0 ? undefined : "only root makes network namespaces";

export interface Nat extends Disposable {
  /** Names of namespaces. */
  readonly coordinator: string;
  readonly runner: string;
  /** The coordinator's, as the runner sees it. */
  readonly address: string;
  /** The runner's own, which nobody else can reach. */
  readonly hidden: string;
}

const run = (...words: string[]): string => {
  const [program = "", ...args] = words;
  return execFileSync(program, args, { encoding: "utf8", stdio: "pipe" });
};

export function makeNat(): Nat {
  // Addresses are each namespace's own, names the machine's.
  const id = randomBytes(4).toString("hex");
  const [coordinator, router, runner] = [`sortie-c-${id}`, `sortie-r-${id}`, `sortie-w-${id}`] as const;
  const names = [coordinator, router, runner];
  const nat: Nat = {
    coordinator,
    runner,
    address: "10.211.1.2",
    hidden: "10.211.2.2",
    [Symbol.dispose]() {
      for (const name of names) run("ip", "netns", "del", name);
    },
  };
  for (const name of names) {
    run("ip", "netns", "add", name);
    run("ip", "-n", name, "link", "set", "lo", "up");
  }
  for (const [name, side, net] of [
    [coordinator, "c", "10.211.1"],
    [runner, "w", "10.211.2"],
  ] as const) {
    run("ip", "-n", name, "link", "add", "outside", "type", "veth", "peer", "name", `to-${side}`, "netns", router);
    run("ip", "-n", name, "addr", "add", `${net}.2/24`, "dev", "outside");
    run("ip", "-n", name, "link", "set", "outside", "up");
    run("ip", "-n", router, "addr", "add", `${net}.1/24`, "dev", `to-${side}`);
    run("ip", "-n", router, "link", "set", `to-${side}`, "up");
  }
  run("ip", "-n", runner, "route", "add", "default", "via", "10.211.2.1");
  run("ip", "netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  // Its lock is the machine's, and container engines of other tests take it, too.
  const iptables = ["iptables", "--wait", "-t", "nat", "-A", "POSTROUTING", "-o", "to-c", "-j", "MASQUERADE"];
  run("ip", "netns", "exec", router, ...iptables);
  return nat;
}
