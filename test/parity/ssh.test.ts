import { afterAll, describe, it } from "vitest";
import { logins, type Sshd, startSshd, whyNoSshd } from "../rig/sshd.ts";
import { paritySuite } from "./suite.ts";

const why = whyNoSshd();
const servers: Sshd[] = [];
if (why === undefined) {
  afterAll(() => Promise.all(servers.map((sshd) => sshd[Symbol.asyncDispose]())));
  for (const login of logins)
    paritySuite(
      "ssh",
      async () => {
        const sshd = await startSshd({ login });
        servers.push(sshd);
        process.env["SORTIE_SSH_CONFIG"] = sshd.config;
        return { ssh: { host: "target" } };
      },
      login === logins[0] ? undefined : `ssh as ${login}`,
    );
} else describe.skip(`a job, ssh: ${why}`, () => it("is left out", () => {}));
