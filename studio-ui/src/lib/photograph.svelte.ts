// The images of the API as pixels: fetched once per size, the latest ones cached.
import { pictureAddress, thumbnailAddress } from "../api/client";
import type { Region } from "../core/grid";
import type { Picture } from "../core/overlay";
import { pixelsOf } from "../core/paint";
import { messageOf } from "./asked.svelte";
import { view } from "./view.svelte";

const CACHED = 150;
const cache = new Map<string, Promise<Picture>>();

/** An image with `fine` pixels along its longer side, or its thumbnail if `fine` is 0; `crop` keeps what the model sees. */
function pictureOf(image: string, fine: number, crop: boolean): Promise<Picture> {
  const key = `${image} ${fine} ${crop}`;
  let picture = cache.get(key);
  if (!picture) {
    picture = read(fine > 0 ? pictureAddress(image) : thumbnailAddress(image), fine, crop);
    picture.catch(() => cache.delete(key));
  }
  cache.delete(key); // the latest one used is the last one to be dropped
  cache.set(key, picture);
  if (cache.size > CACHED) cache.delete(cache.keys().next().value!);
  return picture;
}

async function read(address: string, fine: number, crop: boolean): Promise<Picture> {
  const response = await fetch(address, { credentials: "same-origin" });
  if (!response.ok) {
    const problem = (await response.json().catch(() => null)) as { message?: string } | null;
    throw new Error(problem?.message ?? "the image cannot be read");
  }
  const region = JSON.parse(response.headers.get("camlens-region") ?? "null") as Region | null;
  const bitmap = await createImageBitmap(await response.blob());
  const { height, width } = bitmap;
  const picture = pixelsOf(bitmap, { height, width, region }, fine || Math.max(height, width), crop);
  bitmap.close();
  return picture;
}

/** Whether any image on the page was cropped for the model: only then is there a cropped view to switch to. */
export const sight = $state({ cropped: false });

/** The image that a figure shows; the previous one stays until the next one is loaded. */
export class Photograph {
  picture: Picture | null = $state.raw(null);
  /** The id of the image in `picture`. */
  of = $state.raw("");
  problem = $state("");

  /** Load an image, unless `image` is null. Call in an effect and return the result: it drops an outdated image. */
  show(image: string | null, fine: number): () => void {
    let outdated = false;
    if (image !== null)
      pictureOf(image, fine, view.crop).then(
        (picture) => {
          if (outdated) return;
          [this.picture, this.of, this.problem] = [picture, image, ""];
          if (picture.region) sight.cropped = true;
        },
        (error: unknown) => {
          if (!outdated) this.problem = messageOf(error);
        },
      );
    return () => {
      outdated = true;
    };
  }
}
