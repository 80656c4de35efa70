// Where the commands of a job run: its directory, its site at a backend, and the marks by which a keeper after this one
// finds what is left of it. keeper.ts asks for each job; the job opens the site.
import { join } from "node:path";
import type { Confinement } from "../../protocol/confinement.ts";
import { messageOf } from "../../protocol/errors.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { Redaction } from "../../protocol/redact.ts";
import { Refused, type Site } from "./backends/backend.ts";
import type { Backends } from "./backends/index.ts";
import type { DiskBudget } from "./disk-budget.ts";
import { siteWithin } from "./driven-job.ts";
import type { JobSite, OpenSite } from "./job.ts";
import { findMarks, setMark } from "./marks.ts";
import { makeWorkFolder, withVariables } from "./work.ts";

export interface SiteOpener {
  /** A site of the job's own. A directory that cannot be made is the job's exit. */
  own(request: JobRequest, redaction: Redaction | undefined, confine?: Confinement): OpenSite;
  /** That of a command, in the site of its driven job. */
  within(site: Site, request: JobRequest): OpenSite<JobSite>;
}

export function siteOpener(work: string, backend: Backends, disk: DiskBudget): SiteOpener {
  return {
    own(asked, redaction, confine) {
      const request = withVariables(asked);
      const { attemptId } = request;
      let failure: string | undefined;
      try {
        // Made also for a job that names its directory: it tells a later keeper that there may be processes of it.
        makeWorkFolder(work, attemptId);
      } catch (error) {
        failure = `its working directory could not be made: ${messageOf(error)}`;
      }
      const mark = (text: string): void => {
        try {
          setMark(work, attemptId, text);
        } catch (error) {
          // Processes of this machine have the attempt in their environment; nothing else is found again without it.
          if (backend.isLocal(text) || findMarks(work).has(attemptId)) return;
          disk.failed(error);
          throw new Refused("spawn", `what the job leaves could not be found again: ${String(error)}`);
        }
      };
      return async (note, cancelled) => {
        if (failure !== undefined) throw new Refused("workdir", failure);
        return backend.open(request, join(work, attemptId), { note, mark, redaction }, cancelled, confine);
      };
    },
    within(site, { attemptId, env, cwd }) {
      const mark = (text: string): void => {
        try {
          setMark(work, attemptId, text);
        } catch (error) {
          // The driven job's own mark finds all of it but what hides.
          disk.failed(error);
        }
      };
      return async () => siteWithin(site, { attemptId, env, cwd, mark });
    },
  };
}
