// For tests of recipes that work on several hosts: one sshd of this machine under several names.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startSshd } from "../rig/sshd.ts";

/** Each of the names is a host; the variables are for the coordinator. Disposing it ends the server. */
export async function startHosts(...names: readonly string[]) {
  const sshd = await startSshd();
  const config = join(sshd.folder, "hosts_config");
  writeFileSync(config, readFileSync(sshd.config, "utf8").replace(/^Host .*$/m, `Host ${names.join(" ")}`));
  return {
    env: { SORTIE_SSH_CONFIG: config },
    [Symbol.asyncDispose]: () => sshd[Symbol.asyncDispose](),
  };
}
