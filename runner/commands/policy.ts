// `runner policy`: looks at grants without a runner. `check` reads a file, `explain` tells what would become of a job, `schema`
// prints what editors take.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { newAttemptId, newRunId } from "../../protocol/ids.ts";
import { JobRequest } from "../../protocol/messages.ts";
import { plainContainer } from "../../protocol/place.ts";
import { jsonLine, oneLine } from "../../protocol/text.ts";
import { openTrust } from "../../protocol/trust.ts";
import { compile, type Decision, decide, isUnlimited, resolveWant, type Section } from "../grants/decide.ts";
import { type GrantOptions, grantOptions, policyOfFlags } from "../grants/flags.ts";
import { flagFor, itemsFor, meaningOf } from "../grants/needed.ts";
import { POLICY_FILE, policyOption } from "../grants/of-runner.ts";
import type { Want } from "../grants/policy.ts";
import { allSections, loadPolicy, namesPeer, sectionsOf, whatIsWrong } from "../grants/policy-file.ts";
import { policySchema } from "../grants/policy-schema.ts";
import { describeSection, warningsOf } from "../grants/tell.ts";
import { wantsOf } from "../grants/wants.ts";

interface Options extends GrantOptions {
  readonly action: "check" | "explain" | "schema";
  readonly file: string | undefined;
  readonly policy: string | undefined;
  readonly peer: string | undefined;
  readonly image: string | undefined;
  readonly ssh: string | undefined;
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly user: string | undefined;
  readonly shell: string | undefined;
  readonly "--"?: readonly string[];
}

export const builder = (yargs: Argv) =>
  grantOptions(
    yargs
      .positional("action", { choices: ["check", "explain", "schema"] as const, demandOption: true })
      .positional("file", {
        type: "string",
        describe: "check: a policy file; explain: a job's request as JSON, - for stdin",
      })
      .option("policy", policyOption)
      .option("peer", { type: "string", describe: "explain: the coordinator that asks, by name or peer ID" })
      .option("image", { type: "string", describe: "explain: in a container of this image" })
      .option("ssh", { type: "string", conflicts: "image", describe: "explain: on this host, USER@HOST:PORT" })
      .option("env", {
        alias: "e",
        type: "string",
        array: true,
        nargs: 1,
        default: [],
        describe: "explain: a variable's name, or NAME=VALUE",
      })
      .option("cwd", { type: "string", describe: "explain: where it runs, an absolute path" })
      .option("user", { type: "string", describe: "explain: as whom it runs" })
      .option("shell", { type: "string", describe: "explain: a shell command, in place of a program behind --" }),
  )
    .example("$0 policy check", "reads the file that `runner start` would")
    .example("$0 policy explain --peer laptop -- git push", "what would become of it")
    .example("$0 policy explain job.json --allow-run=npm", "of a whole request, with a flag more")
    .example(`$0 policy schema > ${POLICY_FILE.replace(".json", ".schema.json")}`, "for editors");

export async function handler(options: Options): Promise<number> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  if (options.action === "schema") {
    say(JSON.stringify(policySchema, null, 2));
    return exitCodes.passed;
  }
  const folder = homeOf("runner");
  const own = options.policy ?? join(folder, POLICY_FILE);
  if (options.action === "check") {
    const path = options.file ?? own;
    const sections = allSections(loadPolicy(path));
    for (const section of sections) say(`${section.from}: ${describeSection(section) ?? "nothing"}`);
    for (const warning of warningsOf(sections)) say(oneLine(`warning: ${warning}`));
    return exitCodes.passed;
  }
  const sections = [compile(policyOfFlags(options), "flags")];
  if (options.policy !== undefined || existsSync(own)) sections.push(...sectionsFor(own, folder, options.peer));
  const request = options.file === undefined ? requestOfOptions(options) : readRequest(options.file);
  const wants = wantsOf(request);
  const unlimited = isUnlimited(sections);
  let denied = 0;
  for (const asked of wants) {
    const want = await resolveWant(sections, asked);
    const decision: Decision = unlimited ? { allowed: true, rule: "allow everything" } : decide(sections, want);
    if (!decision.allowed) denied++;
    for (const line of explain(want, decision)) say(line);
  }
  const nothing = request.driven ? "each of its commands asks for itself" : "it wants nothing";
  say(
    denied > 0
      ? `denied: ${denied} of the ${wants.length} things that it wants`
      : `allowed${wants.length === 0 ? `: ${nothing}` : ""}`,
  );
  return denied > 0 ? exitCodes.failed : exitCodes.passed;
}

/** What is asked for as nobody in particular has what everybody has. */
function sectionsFor(path: string, folder: string, peer: string | undefined): Section[] {
  const policy = loadPolicy(path);
  if (peer === undefined) return [policy.common];
  let known: { peer: string; name: string; group?: string | undefined } = { peer, name: peer };
  try {
    known = openTrust(folder).find(peer);
  } catch {
    // One that is not paired yet: by what it will be called.
    if (!namesPeer(policy, (name) => name === peer))
      process.stderr.write(
        oneLine(`nobody is called ${peer} in \`runner trust list\`, and ${path} does not speak of it`) + "\n",
      );
  }
  return sectionsOf(policy, known);
}

function explain(want: Want, decision: Decision): string[] {
  const what = oneLine(want.what);
  if (decision.allowed)
    return [
      `yes  ${what}`,
      `     by ${oneLine(decision.rule)}${decision.taken === undefined ? "" : `; it is ${oneLine(decision.taken)}`}`,
    ];
  if (decision.rule !== undefined) return [`no   ${what}`, `     by ${oneLine(decision.rule)}`];
  const meaning = meaningOf(want);
  const line = jsonLine({ allow: { [want.kind]: itemsFor(want) } });
  return [
    `no   ${what}`,
    `     nothing allows it: ${oneLine(flagFor(want))}, or in the policy file ${line}`,
    ...(meaning === undefined ? [] : [`     but ${meaning}`]),
  ];
}

/** What a request has to have, and nobody cares to write. */
const common = {
  job: "job",
  attempt: 1,
  env: [],
  graceMs: 0,
  stdin: false,
} as const;

function requestOfOptions(options: Options): JobRequest {
  const { image, ssh, env, cwd, user, shell } = options;
  const argv = options["--"] ?? [];
  if ((shell === undefined) === (argv.length === 0))
    throw new SortieError("USAGE", "explain takes a job's request as a file, a command behind --, or --shell COMMAND.");
  return parseRequest(
    {
      steps: [shell === undefined ? { argv } : { shell }],
      env: env.map((text) => [text.split("=")[0], text.split("=").slice(1).join("=")]),
      ...(image === undefined ? {} : { container: { image } }),
      ...(ssh === undefined ? {} : { ssh: sshTarget(ssh) }),
      ...(cwd === undefined ? {} : { cwd }),
      ...(user === undefined ? {} : { user }),
    },
    "what was asked for",
  );
}

function sshTarget(text: string): unknown {
  // An address with colons in brackets.
  const [, user, host, port] = /^(?:([^@]*)@)?\[?(.*?)\]?(?::(\d+))?$/.exec(text) ?? [];
  return { host, ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port: Number(port) }) };
}

function readRequest(file: string): JobRequest {
  let json: unknown;
  try {
    // yargs makes a lone - empty.
    json = JSON.parse(readFileSync(["", "-"].includes(file) ? 0 : file, "utf8"));
  } catch (error) {
    throw new SortieError(
      "USAGE",
      `${file || "stdin"} cannot be read as a job's request: ${(error as Error).message}.`,
    );
  }
  return parseRequest(json, file);
}

function parseRequest(json: unknown, from: string): JobRequest {
  const asked = v.safeParse(v.looseObject({ container: v.optional(v.looseObject({})) }), json);
  if (!asked.success) throw new SortieError("USAGE", `${from} is no job's request: it is no object.`);
  const { container, ...rest } = asked.output;
  const parsed = v.safeParse(JobRequest, {
    ...common,
    attemptId: newAttemptId(),
    run: newRunId(),
    ...rest,
    ...(container ? { container: { ...plainContainer, ...container } } : {}),
  });
  if (parsed.success) return parsed.output;
  throw new SortieError("USAGE", `${from} is no job's request: ${whatIsWrong(parsed.issues[0]).slice(0, 300)}.`);
}
