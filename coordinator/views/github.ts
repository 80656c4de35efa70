// A run in GitHub Actions: a group for each job, an annotation on the recipe's line for each that failed, and a summary
// of the run on its page. How the service reads a line, and so what must not be in one that a job wrote:
// https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs

import { randomBytes } from "node:crypto";
import { appendFile } from "node:fs/promises";
import { isAbsolute, relative, resolve } from "node:path";
import { messageOf } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { EventReader } from "../events.ts";
import { noSecrets, type Secrets } from "../secrets.ts";
import { harmless, oneLine, paintAlways, paintNever } from "./format.ts";
import { type Dialect, type Group, groupedView } from "./grouped.ts";
import { jobSummary } from "./job-summary.ts";

/** For the person's own machine there is none of these. */
interface Environment {
  readonly GITHUB_WORKSPACE?: string;
  readonly GITHUB_STEP_SUMMARY?: string;
  readonly NO_COLOR?: string;
}

/** The service replaces `secrets` by asterisks in whatever comes after it was told them. */
export function githubView(
  out: NodeJS.WriteStream,
  folder: string,
  environment: Environment = process.env as Environment,
  secrets: Pick<Secrets, "values" | "redaction"> = noSecrets(),
): EventReader {
  const root = environment.GITHUB_WORKSPACE ?? process.cwd();
  const summaryFile = environment.GITHUB_STEP_SUMMARY;
  const summary = jobSummary();
  let token = "";
  const masked = new Set<string>();

  /** It looks for a mask line by line, and whatever line a mask is, it hides in all that the service shows from then on. */
  function masks(): string {
    const lines = [...secrets.values].flatMap(linesOf).filter((line) => !masked.has(line));
    for (const line of lines) masked.add(line);
    return [...new Set(lines)].map((line) => `::add-mask::${escapeData(line)}\n`).join("");
  }

  const dialect: Dialect = {
    paint: environment.NO_COLOR ? paintNever : paintAlways,
    line: withoutCommand,
    // Between the two, whatever a line looks like, the service takes none but the token for a command; and that is made
    // when the job has already written everything.
    begin(_group, title) {
      token = randomBytes(16).toString("hex");
      return `${masks()}::group::${escapeText(title)}\n::stop-commands::${token}\n`;
    },
    end: () => `::${token}::\n::endgroup::\n`,
    warning: (text) => `::warning::${escapeText(text)}\n`,
    ended(group, tail) {
      summary.add(group, tail);
      return group.outcome === "failed" || group.outcome === "lost" ? annotation(group, root) : "";
    },
    async over(event) {
      if (!summaryFile) return "";
      try {
        await appendFile(summaryFile, summary.text(event));
        return "";
      } catch (error) {
        const why = oneLine(messageOf(error));
        return `::warning::${escapeText(`The summary could not be written: ${why}`)}\n`;
      }
    },
  };
  out.write(masks());
  return groupedView(out, folder, dialect, secrets);
}

/** Of one of several lines only those that are looked for by themselves: a brace stands in every output. */
function linesOf(secret: string): string[] {
  const lines = secret.trim().split(/[\r\n]+/);
  return lines.length === 1 ? lines : lines.filter((line) => line.trim().length >= limits.secretLineCharacters);
}

function annotation({ job, outcome, why, location }: Group, root: string): string {
  const inRoot = location && relative(root, resolve(location.file));
  const isThere = inRoot !== undefined && !inRoot.startsWith("..") && !isAbsolute(inRoot);
  const place =
    location && isThere
      ? [`file=${escapeProperty(harmless(withoutCommand(inRoot), false))}`, `line=${location.line}`]
      : [];
  const properties = [...place, `title=${escapeProperty(`${job} ${outcome}`)}`].join(",");
  return `::error ${properties}::${escapeText(why)}\n`;
}

/**
 * The older form of a command is one wherever it stands in a line, and the page takes it for a mark of its own even
 * where commands are stopped; the newer one is one at a line's beginning, whatever space, and here colour, precedes it.
 * Where commands are stopped nothing of the newer form needs to change, but a job's lines are not all there is.
 */
export const withoutCommand = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a colour begins with.
  text.replaceAll("##[", "## [").replace(/^((?:\s|\u0085|\p{Cf}|\u001b\[[0-9;:]*m)*):(?=:)/u, "$1: ");

export const escapeData = (text: string): string =>
  text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");

/** What quotes somebody, as a command's text. */
const escapeText = (text: string): string => escapeData(withoutCommand(text));

export const escapeProperty = (text: string): string => escapeData(text).replaceAll(":", "%3A").replaceAll(",", "%2C");
