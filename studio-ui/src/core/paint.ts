// Pixels onto a canvas, which takes their size.
import type { Picture } from "./overlay";

export function paint(canvas: HTMLCanvasElement, { height, width, pixels }: Picture): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d")!.putImageData(new ImageData(pixels as Uint8ClampedArray<ArrayBuffer>, width, height), 0, 0);
}
