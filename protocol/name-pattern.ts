// Items that are a name, or the beginning of one: `CI`, `NODE_*`.

export interface NamePattern {
  readonly name: string;
  /** Whether more may follow. */
  readonly prefix: boolean;
}

/** Letters, digits and underscores, and a star at the end or nowhere; undefined for anything else. */
export function namePattern(text: string): NamePattern | undefined {
  const [, name, star] = /^([A-Za-z_][A-Za-z0-9_]*)(\*?)$/.exec(text) ?? [];
  return name === undefined ? undefined : { name, prefix: star === "*" };
}

export const fitsName = ({ name, prefix }: NamePattern, value: string): boolean =>
  prefix ? value.startsWith(name) : value === name;

/** Whatever the case: some programs take `npm_config_x` and `NPM_CONFIG_X` for the same. */
export const fitsInAnyCase = (pattern: NamePattern, value: string): boolean =>
  fitsName({ ...pattern, name: pattern.name.toLowerCase() }, value.toLowerCase());
