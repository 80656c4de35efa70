// The order of the test files. Vitest knows no times on a clean clone and goes by size: these are short files that take
// minutes, and would run alone at the end.
import { BaseSequencer, type TestSpecification } from "vitest/node";

const LONG = ["/test/parity/", "/test/contract/", "/test/chaos/"];

export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.some((folder) => moduleId.includes(folder));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}
