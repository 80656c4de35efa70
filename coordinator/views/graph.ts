// A plan's graph as text for others to draw, for --graph: an edge leads from a job to each that needs it.
import type { Plan } from "../plan.ts";

export const graphFormats = ["mermaid", "dot"] as const;
export type GraphFormat = (typeof graphFormats)[number];

export const renderGraph = (plan: Plan, format: GraphFormat): string =>
  format === "dot" ? dotGraph(plan) : mermaidGraph(plan);

/** https://mermaid.js.org/syntax/flowchart.html: ids are numbers, since a name may hold what an id may not. */
function mermaidGraph({ jobs }: Plan): string {
  const ids = new Map(jobs.map(({ name }, index) => [name, `j${index}`]));
  const nodes = jobs.map(({ name }) => `  ${ids.get(name)}["${name}"]`);
  const edges = jobs.flatMap(({ name, needs }) => needs.map((need) => `  ${ids.get(need)} --> ${ids.get(name)}`));
  return `${["flowchart LR", ...nodes, ...edges].join("\n")}\n`;
}

/** https://graphviz.org/doc/info/lang.html: no job's name holds a quote or a backslash. */
function dotGraph({ jobs }: Plan): string {
  const nodes = jobs.map(({ name }) => `  "${name}";`);
  const edges = jobs.flatMap(({ name, needs }) => needs.map((need) => `  "${need}" -> "${name}";`));
  return `${["digraph {", "  rankdir=LR;", ...nodes, ...edges, "}"].join("\n")}\n`;
}
