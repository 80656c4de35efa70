import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { folderOwner, isAlive, locked, lockFolder } from "../../protocol/lock.ts";
import { sourceUrl, testFolder, together } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";

const source = (body: string): string => `
  import { readFileSync, writeFileSync } from "node:fs";
  import { locked } from ${sourceUrl("protocol/lock.ts")};
  const addOne = (path) => locked(path, () => writeFileSync(path, String(Number(readFileSync(path, "utf8")) + 1)));
  ${body}`;

/** A process id that was somebody's, and is nobody's now. */
async function goneProcess(): Promise<number> {
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  return child.pid as number;
}

describe("the lock around a change", () => {
  it("loses no change of processes that all want it at once", async () => {
    const path = join(testFolder(), "n");
    writeFileSync(path, "0");
    const adding = source(`for (let i = 0; i < 120; i++) addOne(${JSON.stringify(path)});`);
    await together(Array(5).fill(adding));
    expect(readFileSync(path, "utf8")).toBe("600");
    expect(readdirSync(join(path, ".."))).toEqual(["n"]);
  });

  it("loses none either where all of them find it left by a process that is gone, again and again", async () => {
    const folder = testFolder();
    const stale = `${await goneProcess()} 1`;
    const paths = Array.from({ length: 200 }, (_, index) => join(folder, `n${index}`));
    for (const path of paths) {
      writeFileSync(path, "0");
      writeFileSync(`${path}.lock`, stale);
    }
    await together(Array(5).fill(source(`for (const path of ${JSON.stringify(paths)}) addOne(path);`)));
    expect(new Set(paths.map((path) => readFileSync(path, "utf8")))).toEqual(new Set(["5"]));
    expect(readdirSync(folder).length).toBe(paths.length);
  });

  it("is taken over from a process that was killed inside", async () => {
    const path = join(testFolder(), "n");
    const child = spawn(process.execPath, [
      "--input-type=module",
      "-e",
      `import { locked } from ${sourceUrl("protocol/lock.ts")};
       locked(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"));`,
    ]);
    await once(child, "exit");
    expect(existsSync(`${path}.lock`)).toBe(true);
    expect(locked(path, () => "mine")).toBe("mine");
    expect(existsSync(`${path}.lock`)).toBe(false);
  });

  it("says that the folder cannot be used, where nothing can be looked up in it", () => {
    const folder = join(testFolder(), "round");
    symlinkSync(folder, folder);
    const unusable = expect.objectContaining({ code: "STATE_INVALID" });
    expect(() => locked(join(folder, "n"), () => {})).toThrow(unusable);
    expect(() => lockFolder(join(folder, "below"))).toThrow(unusable);
  });

  for (const [what, content] of Object.entries({
    nothing: "",
    zero: "0",
    "no number": "x",
    "a negative number": "-1",
    "the test's own process, which does not hold it": String(process.pid),
  })) {
    it(`is not held up by a lock that names ${what}`, () => {
      const path = join(testFolder(), "n");
      writeFileSync(`${path}.lock`, content);
      expect(locked(path, () => "mine")).toBe("mine");
    });
  }

  it("is waited for while it goes from hand to hand, and not for long where one keeps it", () => {
    const path = join(testFolder(), "n");
    for (const goesOn of [true, false]) {
      // Each look at the clock is a second later, and finds the lock with somebody who lives, until it is free.
      let seconds = 0;
      const hold = (): void => writeFileSync(`${path}.lock`, `${process.ppid}  ${goesOn ? seconds : 0}`);
      hold();
      const clock = vi.spyOn(Date, "now").mockImplementation(() => {
        if (++seconds < 20) hold();
        else rmSync(`${path}.lock`, { force: true });
        return seconds * 1_000;
      });
      try {
        if (goesOn) expect(locked(path, () => "mine")).toBe("mine");
        else expect(() => locked(path, () => {})).toThrow(expect.objectContaining({ code: "STATE_LOCKED" }));
      } finally {
        clock.mockRestore();
      }
      expect(seconds).toBe(goesOn ? 20 : 8);
    }
  });

  it("is free again when the change threw", () => {
    const path = join(testFolder(), "n");
    expect(() =>
      locked(path, () => {
        throw new Error("no");
      }),
    ).toThrow("no");
    expect(locked(path, () => "mine")).toBe("mine");
  });
});

describe("the lock on a folder", () => {
  it("names the living process that has it, and is free once that ended, however it did", async () => {
    const folder = testFolder();
    const child = spawn(process.execPath, [
      "--input-type=module",
      "-e",
      `import { lockFolder } from ${sourceUrl("protocol/lock.ts")};
       lockFolder(${JSON.stringify(folder)}); console.log("held"); setInterval(() => {}, 1000);`,
    ]);
    await once(child.stdout, "data");
    expect(() => lockFolder(folder)).toThrow(`The process ${child.pid} uses ${folder}.`);
    expect(folderOwner(folder)).toBe(child.pid);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(folderOwner(folder)).toBeUndefined();
    lockFolder(folder)();
  });

  it("is for one only, also within a process", () => {
    const folder = testFolder();
    const unlock = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(/uses/);
    unlock();
    const again = lockFolder(folder);
    unlock();
    expect(folderOwner(folder)).toBe(process.pid);
    again();
  });

  it.runIf(process.platform === "linux")(
    "is not held by a process that only has the number of the one that took it",
    () => {
      const folder = testFolder();
      writeFileSync(join(folder, "lock"), `${process.ppid} 1`);
      lockFolder(folder)();
    },
  );

  it("lets exactly one of many have it that find it stale together", async () => {
    const folder = testFolder();
    writeFileSync(join(folder, "lock"), `${await goneProcess()} 1`);
    const code = `
      import { existsSync } from "node:fs";
      import { lockFolder } from ${sourceUrl("protocol/lock.ts")};
      let answer = "got it";
      try { lockFolder(${JSON.stringify(folder)}); } catch (error) { answer = error.code; }
      console.log(answer);
      process.stdin.resume(); process.stdin.on("end", () => process.exit());`;
    const children = Array.from({ length: 5 }, () => spawn(process.execPath, ["--input-type=module", "-e", code]));
    const answers = await Promise.all(
      children.map(async (child) => String((await once(child.stdout, "data"))[0]).trim()),
    );
    for (const child of children) child.stdin.end();
    await Promise.all(
      children.map((child) =>
        until(
          () => child.exitCode,
          (code) => code !== null,
        ),
      ),
    );
    expect(answers.sort()).toEqual(["STATE_LOCKED", "STATE_LOCKED", "STATE_LOCKED", "STATE_LOCKED", "got it"]);
  });
});

describe("a process", () => {
  it("is alive or not, and a group of processes is none", async () => {
    expect(isAlive(process.pid)).toBe(true);
    expect(isAlive(await goneProcess())).toBe(false);
    for (const none of [0, -1, Number.NaN, 1.5]) expect(isAlive(none)).toBe(false);
  });
});
