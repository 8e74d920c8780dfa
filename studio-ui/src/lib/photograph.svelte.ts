// The photograph that a figure shows: the former one stays until the next is there.
import type { Picture } from "../core/overlay";

export class Photograph {
  picture: Picture | null = $state.raw(null);
  /** Which image the picture is of. */
  of = $state.raw("");
  problem = $state("");

  /** Have `wanted` read, unless it is null. Call in an effect, and return what it returns. */
  show(wanted: string | null, read: (image: string) => Promise<Picture>): () => void {
    let left = false;
    if (wanted !== null)
      read(wanted).then(
        (picture) => {
          if (!left) [this.picture, this.of, this.problem] = [picture, wanted, ""];
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
