// The grant `image`: of which images containers may be made, a job's own and its services'. Items are names as an engine
// takes them, with `*` within a part between `/`, `:` and `@`, and `/**` at the end for all below.
import { inFull, parseImageName } from "./image-name.ts";
import { badItem, type KindRules } from "./kind.ts";
import { fits } from "./wildcard.ts";

type ImageItem =
  /** All whose names begin so; empty for every image. */
  { readonly below: string } | { readonly repository: string; readonly version: string | undefined };

const SEPARATORS = /([/:@])/;

export const imageRules: KindRules<ImageItem> = {
  // One that is no name, or an image's id, is covered by no grant.
  async resolve(value) {
    const name = parseImageName(value);
    return { names: name ? [inFull(name)] : [] };
  },
  parse(text) {
    if (text === "**") return { below: "" };
    const isBelow = text.endsWith("/**");
    const folder = text.slice(0, -3);
    // As a host, where it is one: `ghcr.io/**`, `localhost:5000/**`.
    if (isBelow && /^(localhost|[a-z0-9.*-]*[.:][a-z0-9.*:-]*)$/.test(folder))
      return { below: `${folder === "index.docker.io" ? "docker.io" : folder}/` };
    const name = parseImageName(isBelow ? `${folder}/x` : text, true);
    if (!name || text.replace(/\/\*\*$/, "").includes("**"))
      throw badItem("image", text, "an image's name in lower case, such as alpine:*, ghcr.io/acme/** or NAME@sha256:…");
    return isBelow ? { below: name.repository.slice(0, -1) } : name;
  },
  matches: (item, value) => ("below" in item ? isBelow(item.below, value) : fits(inFull(item), value, SEPARATORS)),
  denies(item, value) {
    if ("below" in item) return isBelow(item.below, value);
    const { repository = "", version = "" } = parseImageName(value) ?? {};
    if (!fits(item.repository, repository, SEPARATORS)) return false;
    // A digest may be what a denied tag is now.
    return (
      item.version === undefined ||
      fits(item.version, version, SEPARATORS) ||
      (version.startsWith("@") && !item.version.startsWith("@"))
    );
  },
  taken: (name) => name,
  itemFor: (value) => (parseImageName(value) ? value : undefined),
  means: (value) =>
    parseImageName(value)
      ? undefined
      : "an image's id, or a name with upper case, is covered by --allow-all alone: name it as its registry does",
  warning: (item) =>
    item === true || ("below" in item && item.below === "")
      ? "a container of any image of any registry may be started: any program, though confined"
      : undefined,
};

/** Segment by segment, as far as the folder goes. */
function isBelow(folder: string, value: string): boolean {
  const depth = folder.split(SEPARATORS).length - 1;
  return folder === "" || fits(folder, `${value.split(SEPARATORS).slice(0, depth).join("")}`, SEPARATORS);
}
