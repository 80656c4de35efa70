// What /proc tells of processes. Each may end while it is looked at: that reads as nothing, never as an error.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Processes that have the text in their environment, their arguments or as working directory. */
export const processesOf = (text: string): number[] =>
  allProcesses().filter(
    (pid) =>
      pid !== process.pid &&
      [contentOf(pid, "environ"), contentOf(pid, "cmdline"), targetOf(pid, "cwd")].some((one) => one.includes(text)),
  );

/** Processes of exactly this command line: not the one that is about to become it, as setsid and env are. */
export const processesRunning = (...argv: readonly string[]): number[] =>
  allProcesses().filter((pid) => contentOf(pid, "cmdline") === `${argv.join("\0")}\0`);

export const allProcesses = (): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** The targets of the process's open descriptors; a job's environment is clean, so its files are what shows whose it is. */
export const openFilesOf = (pid: number): string[] => {
  try {
    return readdirSync(`/proc/${pid}/fd`)
      .map((descriptor) => targetOf(pid, `fd/${descriptor}`))
      .filter(Boolean);
  } catch {
    return [];
  }
};

/** Whether it runs: one that has ended, and that its parent has not waited for yet, does not. */
export const isRunning = (pid: number): boolean => !/^$|\) [ZX] /.test(contentOf(pid, "stat"));

/** Whether it is in no container: its number is the same to itself. Not of one that is gone. */
export const isOfThisNamespace = (pid: number): boolean => /^NSpid:\t\d+$/m.test(contentOf(pid, "status"));

/** Resident memory; NaN of a process that is gone. */
export const residentBytesOf = (pid: number): number =>
  1024 * Number(/VmRSS:\s+(\d+)/.exec(contentOf(pid, "status"))?.[1]);

export const argumentsOf = (pid: number): string => contentOf(pid, "cmdline").replaceAll("\0", " ");

export const describeProcess = (pid: number): string => `${pid} ${argumentsOf(pid)}`;

export const contentOf = (pid: number, file: string): string =>
  read(() => readFileSync(`/proc/${pid}/${file}`, "latin1"));

const targetOf = (pid: number, link: string): string => read(() => readlinkSync(`/proc/${pid}/${link}`));

function read(file: () => string): string {
  try {
    return file();
  } catch {
    return "";
  }
}
