// A container that asks for nothing but its image.
import { type Container, plainContainer } from "../../protocol/place.ts";

export const containerOf = (image: string, more: Partial<Container> = {}): Container => ({
  image,
  ...plainContainer,
  pull: "never",
  ...more,
});
