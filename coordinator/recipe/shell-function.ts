// placeholder
export type Shell = (
  strings: TemplateStringsArray,
  ...values: readonly unknown[]
) => Promise<{ code: number }> & { text(): Promise<string> };
