// A run in GitLab CI: a section for each job, folded where it passed. A section's marks are made of an escape sequence
// and a carriage return, and what a job writes keeps neither: see
// https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
import type { EventReader } from "../events.ts";
import { noSecrets, type Secrets } from "../secrets.ts";
import { paintAlways, paintNever } from "./format.ts";
import { type Dialect, type Group, groupedView } from "./grouped.ts";

const ERASE = "\u001b[0K";

export function gitlabView(
  out: NodeJS.WriteStream,
  folder: string,
  environment: NodeJS.ProcessEnv = process.env,
  secrets: Pick<Secrets, "redaction"> = noSecrets(),
): EventReader {
  const dialect: Dialect = {
    paint: environment["NO_COLOR"] ? paintNever : paintAlways,
    line: (text) => text,
    begin(group, title) {
      const folded = group.outcome === "passed" || group.outcome === undefined ? "[collapsed=true]" : "";
      return `${ERASE}section_start:${seconds(group.startedAt)}:${nameOf(group)}${folded}\r${ERASE}${title}\n`;
    },
    end: (group) => `${ERASE}section_end:${seconds(group.endedAt)}:${nameOf(group)}\r${ERASE}\n`,
  };
  return groupedView(out, folder, dialect, secrets);
}

const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1000);

/** A job's name may hold what a section's may not, and each group is a section of its own. */
const nameOf = ({ job, index }: Group): string => `sortie_${index}_${job.replace(/[^\w.-]/g, "_")}`;
