// An image's name in full, as Docker reads it: `alpine` is docker.io/library/alpine:latest. Under a policy an engine is
// given this one, so that what was compared is what is asked for. Pure; image.ts asks.
// https://pkg.go.dev/github.com/distribution/reference

export interface ImageName {
  /** `docker.io/library/alpine`. */
  readonly repository: string;
  /** `:latest`, or `@sha256:…`; undefined where neither was written. With a digest engines look at no tag, so it has none. */
  readonly version: string | undefined;
}

const LATEST = ":latest";

export const inFull = ({ repository, version = LATEST }: ImageName): string => repository + version;

/**
 * Undefined for what is no name: upper case in a host or a repository (a registry's host could be written in two ways), the
 * id of an image, which names anything that the engine has. `wild`: a `*` may stand for any character but `/`, `:` and `@`.
 */
export function parseImageName(text: string, wild = false): ImageName | undefined {
  const any = wild ? "*" : "";
  const [name = "", digest, ...more] = text.split("@");
  const [, path = "", tag] = /^(.*?)(?::([^/:]*))?$/.exec(name) ?? [];
  const parts = path.split("/");
  const hasHost = parts.length > 1 && /[.:]|^localhost$/.test(parts[0] as string);
  const written = hasHost ? (parts.shift() as string) : "docker.io";
  const host = written === "index.docker.io" ? "docker.io" : written;
  if (host === "docker.io" && parts.length === 1) parts.unshift("library");
  if (more.length > 0 || !new RegExp(`^[a-z0-9.${any}-]+(:[0-9${any}]+)?$`).test(host)) return undefined;
  const component = new RegExp(`^[a-z0-9${any}]+((\\.|_|__|-+)[a-z0-9${any}]+)*$`);
  if (!parts.every((part) => component.test(part))) return undefined;
  if (tag !== undefined && !new RegExp(`^[A-Za-z0-9_${any}][A-Za-z0-9_.${any}-]{0,127}$`).test(tag)) return undefined;
  if (digest !== undefined && !new RegExp(`^[a-z0-9]+:[0-9a-f${any}]+$`).test(digest)) return undefined;
  // Engines take these for ids, of any image that they have.
  if (/^([0-9a-f]{64}|sha256:[0-9a-f]+)$/.test(name)) return undefined;
  const version = digest !== undefined ? `@${digest}` : tag !== undefined ? `:${tag}` : undefined;
  return { repository: [host, ...parts].join("/"), version };
}
