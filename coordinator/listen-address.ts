// Where a coordinator listens for runners that dial by themselves: said once, by `coordinator invite` or `coordinator listen`, and
// remembered, since those runners know no other address.
import { join } from "node:path";
import * as v from "valibot";
import { type StateFile, stateFile } from "../protocol/state-file.ts";
import { Address } from "../protocol/trust.ts";

const ListenAddress = v.strictObject({
  /** What is listened on, never with port 0: the one that was free the first time is the one that runners dial. */
  listen: Address,
  /** What that came to, each ending in /p2p/PEER: 0.0.0.0 is every interface of the machine. */
  bound: v.pipe(v.array(Address), v.maxLength(1_000)),
});
export type ListenAddress = v.InferOutput<typeof ListenAddress>;

/** Of the coordinator's folder; null where it never listened. */
export const listenAddressIn = (folder: string): StateFile<ListenAddress | null> =>
  stateFile(join(folder, "listen.json"), v.nullable(ListenAddress), null);
