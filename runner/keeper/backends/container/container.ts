// The container backend: the commands of a job in containers of an engine. A step is a container of its own, made of the
// one before where that changed its files. job.ts opens sites, reaper.ts asks for what is left.
import { chmod } from "node:fs/promises";
import { posix } from "node:path";
import type Docker from "dockerode";
import type { Confinement } from "../../../../protocol/confinement.ts";
import { messageOf } from "../../../../protocol/errors.ts";
import type { AttemptId } from "../../../../protocol/ids.ts";
import { limits } from "../../../../protocol/limits.ts";
import type { JobRequest } from "../../../../protocol/messages.ts";
import type { Container } from "../../../../protocol/place.ts";
import { within } from "../../../../protocol/within.ts";
import {
  type Backend,
  type Refusal,
  Refused,
  type RunningCommand,
  type Site,
  type SiteCommand,
  type SiteEvents,
} from "../backend.ts";
import { notStarted } from "../not-started.ts";
import { type SecretFiles, withPaths } from "../secret-files.ts";
import { neverWas, type StartedStep, startStep } from "./command.ts";
import { confined } from "./confined.ts";
import { confinedUser } from "./confined-user.ts";
import { type Base, directoryOf, type Place, SECRETS, stepBody } from "./create-body.ts";
import { connect, type Engine, findEngine } from "./engine.ts";
import { refusalOf, wordsOf } from "./engine-error.ts";
import { keepFiles } from "./keep-files.ts";
import { labelsOf, labelsOfAttempt, removeAll } from "./labels.ts";
import { type Mark, markOf, parseMark } from "./mark.ts";
import { checkMounts } from "./mounts.ts";
import { giveBack } from "./ownership.ts";
import { haveImage } from "./pull.ts";
import { secretsFor } from "./secrets.ts";
import { type Services, serviceNetwork, startServices } from "./services.ts";

const TOO_MANY_LAYERS: Refusal = {
  stage: "image",
  code: null,
  message: `the image and the steps before have ${limits.imageLayers} layers, and an engine makes no more: give the job fewer steps that change files outside its workspace`,
};

/** `owner` tells this runner's containers from another's on the same engine. */
export function containerBackend(options: { owner: string; log: (line: string) => void }): Backend {
  return {
    open: (request, workspace, events, cancelled, confine) =>
      open(request, workspace, events, cancelled, confine, options),
    async reap(attempt, mark) {
      const { address, owned } = parseMark(mark);
      await clean(await connect(address), options.owner, attempt, owned);
    },
    close: () => Promise.resolve(),
  };
}

async function open(
  request: JobRequest,
  workspace: string,
  events: SiteEvents,
  cancelled: AbortSignal,
  confine: Confinement | undefined,
  { owner, log }: { owner: string; log: (line: string) => void },
): Promise<Site> {
  if (!request.container) throw new RangeError("a job without a container");
  const engine = await findEngine(process.env, cancelled);
  cancelled.throwIfAborted();
  const { address } = engine;
  events.mark(markOf({ address }));
  let files: SecretFiles | undefined;
  const remove = async (owned: Mark["owned"]): Promise<boolean> => {
    files?.remove();
    try {
      const done = clean(engine, owner, request.attemptId, owned).then(() => true);
      if (await within(done, limits.cleanedWithinMs)) return true;
      log(`containers of the attempt ${request.attemptId} could not be removed in time`);
      return false;
    } catch (error) {
      log(`containers of the attempt ${request.attemptId} could not be removed: ${wordsOf(error)}`);
      return false;
    }
  };
  try {
    const prepared = await prepare(engine, request, request.container, workspace, events, cancelled, owner, confine);
    const { image, place, services, user } = prepared;
    const owned = { image: image.Id, workspace, ...(confine?.limits ? { confined: true as const } : {}) };
    events.mark(markOf({ address, owned }));
    const asUser = user === undefined ? request : { ...request, user };
    files = await secretsFor(engine, image, asUser, events, owner);
    const asked = withPaths(asUser, (name) => posix.join(SECRETS, name));
    const whole = files ? { ...place, secrets: files.folder } : place;
    return site(engine, asked, request.container, image, whole, endOf(services, files), () => remove(owned));
  } catch (error) {
    await remove(undefined);
    throw error instanceof Refused || cancelled.aborted ? error : new Refused("engine", messageOf(error));
  }
}

/** Nothing runs any more that could leave files when they are given back. Rejects where something is left. */
async function clean(engine: Engine, owner: string, attempt: AttemptId, owned: Mark["owned"]): Promise<void> {
  await removeAll(engine, owner, attempt);
  if (owned) await giveBack(engine, owned, labelsOfAttempt(attempt, owner));
}

async function prepare(
  engine: Engine,
  request: JobRequest,
  container: Container,
  workspace: string,
  events: SiteEvents,
  cancelled: AbortSignal,
  owner: string,
  confine: Confinement | undefined,
): Promise<Prepared> {
  const labels = labelsOf(request, owner);
  const ownName = `sortie-${request.attemptId}`;
  // One that cannot be had ends the pulls of the others.
  const failed = new AbortController();
  const stop = AbortSignal.any([cancelled, failed.signal]);
  const pull = (image: string, policy: Container["pull"], platform?: string): Promise<Docker.ImageInspectInfo> =>
    haveImage(engine, image, policy, platform, (text) => events.note("image", text), stop);
  const pulls = [
    pull(container.image, container.pull, container.platform),
    ...container.services.map((service) => pull(service.image, service.pull)),
  ] as const;
  const [image, ...images] = await Promise.all(pulls).catch(async (error: unknown) => {
    failed.abort();
    await Promise.allSettled(pulls);
    throw error;
  });
  cancelled.throwIfAborted();
  if (engine.isLocal) checkMounts(container, confine?.mounts === "real");
  else if (confine?.mounts && container.mounts.length > 0)
    throw new Refused("spawn", "paths of an engine on another machine cannot be looked at, so none is granted there");
  const userOf = (one: Docker.ImageInspectInfo, asked: string | undefined): Promise<string> | string | undefined =>
    confine?.user ? confinedUser(engine, one, asked, labels) : asked;
  const user = await userOf(image, request.user);

  // Whatever user runs in it may write there; no other user of this machine can reach it, its parent is ours alone.
  if (engine.isLocal) await chmod(workspace, 0o777);
  else await makeVolume(engine, ownName, labels);
  const network = container.services.length > 0 ? ownName : undefined;
  const place: Place = {
    labels,
    workspace: engine.isLocal ? { directory: workspace } : { volume: ownName },
    network,
    confine,
  };
  if (!network) return { image, place, services: undefined, user };
  const asked = await Promise.all(
    container.services.map(async (service, index) => {
      const own = images[index] as Docker.ImageInspectInfo;
      const asUser = await userOf(own, service.user);
      return { service: asUser === undefined ? service : { ...service, user: asUser }, image: own.Id };
    }),
  );
  await serviceNetwork(engine, network, labels, confine?.network === "none");
  return { image, place, services: await startServices(engine, asked, place, events, cancelled), user };
}

interface Prepared {
  readonly image: Docker.ImageInspectInfo;
  readonly place: Place;
  readonly services: Services | undefined;
  /** As who its steps run. */
  readonly user: string | undefined;
}

/** One that was there before could be anything: a `local` volume may be a directory of the engine's machine. */
async function makeVolume({ docker }: Engine, name: string, labels: Record<string, string>): Promise<void> {
  await docker.createVolume({ Name: name, Labels: labels });
  const made = await docker.getVolume(name).inspect();
  const attempt = "sortie.attempt";
  if (made.Labels?.[attempt] !== labels[attempt] || Object.keys(made.Options ?? {}).length > 0)
    throw new Refused("workdir", `the engine has a volume ${name} already, which is not this job's`);
}

const endOf = (services: Services | undefined, files: SecretFiles | undefined) => async (): Promise<void> => {
  files?.remove();
  await services?.end();
};

function site(
  engine: Engine,
  request: JobRequest,
  container: Container,
  image: Docker.ImageInspectInfo,
  place: Place,
  end: () => Promise<void>,
  remove: () => Promise<boolean>,
): Site {
  const files = keepFiles(engine, image, container, place, request.user);
  /** Starts, and removals of what was started too late: they may go on after they were cancelled. */
  const busy = new Set<Promise<unknown>>();
  const track = (work: Promise<unknown>): void => {
    const done = work.catch(() => {}).finally(() => busy.delete(done));
    busy.add(done);
  };

  async function startNext(command: SiteCommand, cancelled: AbortSignal): Promise<StartedStep> {
    const none = (running: RunningCommand): StartedStep => ({ running, container: undefined });
    let base: Base | undefined;
    try {
      base = await files.next(cancelled);
    } catch (error) {
      return none(cancelled.aborted ? neverWas() : notStarted(refusalOf(error, container.image)));
    }
    if (cancelled.aborted) return none(neverWas());
    try {
      if (engine.isLocal) checkMounts(container, place.confine?.mounts === "real");
    } catch (error) {
      return none(notStarted((error as Refused).refusal));
    }
    if (!base) return none(notStarted(TOO_MANY_LAYERS));
    const body = confined(stepBody(request, container, command, base, place), place.confine);
    const step = {
      body,
      platform: container.platform,
      program: (body.Entrypoint as string[])[0] ?? "",
      stdin: command.stdin,
      newPrivileges: container.newPrivileges,
    };
    const started = await startStep(engine, step, cancelled);
    const { container: one, running } = started;
    const { image: madeOf } = base;
    const variables = command.own?.env.map(([name]) => name) ?? [];
    if (one) void running.settled.then(() => files.ended({ container: one, image: madeOf, variables }));
    return started;
  }

  return {
    enter: async () => directoryOf(request),
    async start(command, cancelled): Promise<RunningCommand> {
      const starting = startNext(command, cancelled);
      track(starting);
      const patience = Promise.withResolvers<undefined>();
      const wait = (): void => void within(starting, limits.engineCancelledMs).then(() => patience.resolve(undefined));
      if (cancelled.aborted) wait();
      else cancelled.addEventListener("abort", wait, { once: true });
      const started = await Promise.race([starting, patience.promise]);
      cancelled.removeEventListener("abort", wait);
      if (started) return started.running;
      // Nobody reads what it writes; what it changed until then is kept like any other's.
      track(
        starting.then(({ running }) => {
          running.stdout.resume();
          running.stderr.resume();
          running.killNow();
        }),
      );
      return neverWas();
    },
    end,
    async close() {
      await within(Promise.all(busy), limits.killedWithinMs);
      return remove();
    },
  };
}
