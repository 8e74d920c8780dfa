// The photograph that a figure shows: the former one stays until the next is there.
import type { Picture } from "../core/overlay";
import { pictureOf } from "./pictures";
import { view } from "./view.svelte";

/** Whether any photograph here was cropped for the model: else there is nothing to switch. */
export const sight = $state({ cropped: false });

export class Photograph {
  picture: Picture | null = $state.raw(null);
  /** Which image the picture is of. */
  of = $state.raw("");
  problem = $state("");

  /** Have `wanted` read, unless it is null, as `pictureOf` says. Call in an effect, and return what it returns. */
  show(wanted: string | null, fine: number): () => void {
    let left = false;
    if (wanted !== null)
      pictureOf(wanted, fine, view.crop).then(
        (picture) => {
          if (left) return;
          [this.picture, this.of, this.problem] = [picture, wanted, ""];
          if (picture.region) sight.cropped = true;
        },
        (error: unknown) => {
          if (!left) this.problem = error instanceof Error ? error.message : String(error);
        },
      );
    return () => {
      left = true;
    };
  }
}
