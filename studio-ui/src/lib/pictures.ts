// Photographs as pixels: fetched once, at the size that a figure needs.
import { pictureAddress, thumbnailAddress } from "../api/client";
import type { Region } from "../core/grid";
import type { Picture } from "../core/overlay";
import { pixelsOf } from "../core/paint";

const KEPT = 150;
const held = new Map<string, Promise<Picture>>();

/** An image with `fine` pixels along its longer side, or a small copy for 0; with `crop` only what the model sees. */
export function pictureOf(image: string, fine: number, crop: boolean): Promise<Picture> {
  const key = `${image} ${fine} ${crop}`;
  let picture = held.get(key);
  if (!picture) {
    picture = read(fine > 0 ? pictureAddress(image) : thumbnailAddress(image), fine, crop);
    picture.catch(() => held.delete(key));
  }
  held.delete(key);
  held.set(key, picture);
  if (held.size > KEPT) held.delete(held.keys().next().value!);
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
