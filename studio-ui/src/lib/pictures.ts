// Photographs as pixels: fetched once, enlarged where a map is to be drawn finely.
import { pictureAddress, thumbnailAddress } from "../api/client";
import type { Picture } from "../core/overlay";

const KEPT = 200;
const held = new Map<string, Promise<Picture>>();

/** The pixels of an image as the model sees it, its longer side at least `finest` where it is smaller. */
export const pictureOf = (image: string, finest = 0): Promise<Picture> => remembered(pictureAddress(image), finest);

/** The same as a small copy, for galleries. */
export const smallPictureOf = (image: string): Promise<Picture> => remembered(thumbnailAddress(image), 0);

function remembered(address: string, finest: number): Promise<Picture> {
  const key = `${address} ${finest}`;
  let found = held.get(key);
  if (!found) {
    found = read(address, finest);
    found.catch(() => held.delete(key));
  }
  held.delete(key);
  held.set(key, found);
  if (held.size > KEPT) held.delete(held.keys().next().value!);
  return found;
}

async function read(address: string, finest: number): Promise<Picture> {
  const response = await fetch(address, { credentials: "same-origin" });
  if (!response.ok) {
    const problem = (await response.json().catch(() => null)) as { message?: string } | null;
    throw new Error(problem?.message ?? "the image cannot be read");
  }
  const bitmap = await createImageBitmap(await response.blob());
  const scale = Math.max(1, Math.ceil(finest / Math.max(bitmap.width, bitmap.height)));
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width * scale;
  canvas.height = bitmap.height * scale;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return {
    height: canvas.height,
    width: canvas.width,
    pixels: context.getImageData(0, 0, canvas.width, canvas.height).data,
  };
}
