// Prints docs/errors.md from the catalogue of errors.
import { errorCatalog } from "../protocol/errors.ts";

export function errorsPage(): string {
  const rows = Object.entries(errorCatalog).map(
    ([code, { exitCode, meaning, hint }]) => `| \`${code}\` | ${exitCode} | ${meaning} | ${hint} |`,
  );
  return `# Errors

Made from \`protocol/errors.ts\` by \`node scripts/errors-doc.ts > docs/errors.md\`. An error is printed as
\`error[CODE]: what happened\`, with the place in your own file where it is about one, and a hint. \`coordinator exec\`
exits with 125 for each of them.

| code | exit code | what it means | what to do |
| --- | --- | --- | --- |
${rows.join("\n")}
`;
}

if (import.meta.main) process.stdout.write(errorsPage());
