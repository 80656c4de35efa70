// The summary of a run in Markdown, for the page that GitHub shows of it: a table of the jobs, and how the failed ends.
import { limits } from "../../protocol/limits.ts";
import type { RunEvent } from "../events.ts";
import { counted, duration, oneLine, outcomeMark } from "./format.ts";
import type { Group } from "./grouped.ts";
import type { Tail } from "./tail.ts";

export interface JobSummary {
  add(group: Group, tail: Tail): void;
  text(event: RunEvent & { type: "run-ended" }): string;
}

export function jobSummary(): JobSummary {
  const rows: string[] = [];
  const tails: string[] = [];
  let characters = 0;
  let left = 0;

  /** What the page cannot hold is counted. */
  function keep(list: string[], text: string): void {
    if (characters + text.length > limits.jobSummaryCharacters) left++;
    else {
      characters += text.length;
      list.push(text);
    }
  }

  return {
    add(group, tail) {
      const { job, attempt, outcome, why, durationMs } = group;
      const mark = outcome === undefined ? "↻ tried again" : `${outcomeMark[outcome]} ${outcome}`;
      const name = attempt > 1 ? `${job} (attempt ${attempt})` : job;
      keep(rows, `| ${[escapeMarkdown(name), mark, duration(durationMs), escapeMarkdown(why)].join(" | ")} |\n`);
      if (outcome !== "failed" && outcome !== "lost") return;
      const lines = tail.lines(limits.jobSummaryTailLines);
      if (lines.length > 0) keep(tails, `\n### ${escapeMarkdown(name)}\n\n${fenced(lines.join("\n"))}`);
    },
    text({ run, outcome, durationMs }) {
      const head = `## Run ${run}: ${outcome} in ${duration(durationMs)}\n\n| job | outcome | time | why |\n| --- | --- | --- | --- |\n`;
      const more =
        left === 0 ? "" : `\n${counted(left, "more part")} did not fit; \`coordinator show ${run}\` has everything.\n`;
      return `${head}${rows.join("")}${tails.join("")}${more}\n`;
    },
  };
}

/** Text that is nothing but text: no markup, no link, nobody who is called by name, no end of a cell. */
export const escapeMarkdown = (text: string): string =>
  oneLine(text).replace(/[^\p{L}\p{N} .,]/gu, (character) => `&#${character.codePointAt(0)};`);

/** The fence is longer than any in the text. */
export function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}text\n${text}\n${fence}\n`;
}
