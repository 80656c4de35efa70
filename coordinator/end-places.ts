// Other places of jobs whose functions ended with the coordinator that ran them: they are given back. For a run that is gone
// on with, or cancelled.
import { endDriven } from "./drive.ts";
import type { RunnerLink } from "./fleet.ts";
import type { PlaceRow } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

/** Never rejects: a runner that does not answer ends the place itself, when its lease is up. */
export async function endPlaces(
  store: Pick<Store, "forgetPlace">,
  places: readonly PlaceRow[],
  linkOf: (place: PlaceRow) => RunnerLink,
): Promise<void> {
  await Promise.all(
    places.map(async (place) => {
      try {
        await endDriven(linkOf(place), place.id).catch(() => {});
        store.forgetPlace(place.id);
      } catch {
        // A record that cannot be written is told by whatever is written next; the place is looked for once more then.
      }
    }),
  );
}
