// A container that asks for nothing but its image.
import type { Container } from "../../protocol/place.ts";

export const containerOf = (image: string, more: Partial<Container> = {}): Container => ({
  image,
  pull: "never",
  mounts: [],
  tmpfs: [],
  readOnly: false,
  capabilities: { add: [], drop: [] },
  newPrivileges: false,
  privileged: false,
  services: [],
  ...more,
});
