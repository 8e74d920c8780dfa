// Pixels to a canvas, and a loaded image to pixels.
import { inward, WHOLE, type Frame, type Region } from "./grid";
import { marked, type Picture } from "./overlay";

export function paint(canvas: HTMLCanvasElement, { height, width, pixels }: Picture): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d")!.putImageData(new ImageData(pixels as Uint8ClampedArray<ArrayBuffer>, width, height), 0, 0);
}

/** The part of an image to show, and the region of the model's input in it. `crop` shows the model's input only. */
export function partOf(region: Region | null | undefined, crop: boolean): { part: Region; region: Region | null } {
  if (!crop || !region) return { part: WHOLE, region: region ?? null };
  const part = region.map((share) => Math.max(0, Math.min(1, share))) as unknown as Region;
  const [left, top, right, bottom] = part;
  const within = region.map((share, i) => (i % 2 ? inward(share, top, bottom) : inward(share, left, right)));
  return { part, region: within.every((share, i) => share === WHOLE[i]) ? null : (within as unknown as Region) };
}

/** The pixels of a loaded image, `fine` along its longer side, with the model's input marked or cropped. */
export function pixelsOf(source: CanvasImageSource, size: Frame, fine: number, crop: boolean): Picture {
  const { part, region } = partOf(size.region, crop);
  const [left, top, right, bottom] = part;
  const [across, down] = [(right - left) * size.width, (bottom - top) * size.height];
  const scale = fine / Math.max(across, down);
  const canvas = document.createElement("canvas");
  const [width, height] = [across, down].map((length) => Math.max(1, Math.round(length * scale))) as [number, number];
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, left * size.width, top * size.height, across, down, 0, 0, width, height);
  return marked({ height, width, region, pixels: context.getImageData(0, 0, width, height).data });
}
