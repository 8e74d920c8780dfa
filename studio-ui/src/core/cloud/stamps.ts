// Fast drawing of many antialiased dots into pixels.
import type { Points } from "./spatial";

export interface Canvas {
  readonly width: number;
  readonly height: number;
  /** RGBA, four bytes per pixel. */
  readonly pixels: Uint8ClampedArray;
}

export interface Dots {
  /** Positions in pixels. */
  readonly at: Points;
  /** The dots to draw, the last one on top. */
  readonly order: Uint32Array;
  /** The row of `table` of each point. */
  readonly colors: Uint16Array;
  /** RGB triples. */
  readonly table: Uint8Array;
  readonly radius: number;
  /** 0 to 1. */
  readonly opacity: number;
}

const PARTS = 4; // dots are placed at quarters of a pixel
const FULL = 256;

interface Mask {
  readonly size: number;
  readonly cover: Uint16Array;
}

/** The coverage masks of a dot, one per subpixel position of its center. */
export function masks(radius: number, opacity: number): Mask[] {
  const reach = Math.ceil(radius + 0.5);
  const size = 2 * reach + 1;
  return Array.from({ length: PARTS * PARTS }, (_, part) => {
    const middleX = reach + (part % PARTS) / PARTS;
    const middleY = reach + Math.floor(part / PARTS) / PARTS;
    const cover = new Uint16Array(size * size);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const away = Math.hypot(x - middleX, y - middleY);
        cover[y * size + x] = Math.round(Math.min(1, Math.max(0, radius + 0.5 - away)) * opacity * FULL);
      }
    }
    return { size, cover };
  });
}

/** Fill the canvas with a color. */
export function wiped({ pixels }: Canvas, [red, green, blue]: readonly [number, number, number]): void {
  new Uint32Array(pixels.buffer, pixels.byteOffset, pixels.length >> 2).fill(
    ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0,
  );
}

/** Draw the dots that are on the canvas and return their number. */
export function stamped(canvas: Canvas, dots: Dots): number {
  const { width, height, pixels } = canvas;
  const { at, order, colors, table } = dots;
  const shapes = masks(dots.radius, dots.opacity);
  const size = shapes[0]!.size;
  const reach = (size - 1) / 2;
  let drawn = 0;
  for (let place = 0; place < order.length; place++) {
    const point = order[place]!;
    const x = Math.round((at.x[point]! - 0.5) * PARTS);
    const y = Math.round((at.y[point]! - 0.5) * PARTS);
    const left = (x >> 2) - reach;
    const top = (y >> 2) - reach;
    const defined = x === x && y === y; // bit shifts would turn NaN into 0
    if (!defined || left <= -size || top <= -size || left >= width || top >= height) continue;
    const { cover } = shapes[(y & 3) * PARTS + (x & 3)]!;
    const row = colors[point]! * 3;
    const [red, green, blue] = [table[row]!, table[row + 1]!, table[row + 2]!];
    const [fromX, toX] = [Math.max(0, -left), Math.min(size, width - left)];
    const [fromY, toY] = [Math.max(0, -top), Math.min(size, height - top)];
    for (let down = fromY; down < toY; down++) {
      let pixel = ((top + down) * width + left + fromX) * 4;
      for (let across = fromX; across < toX; across++, pixel += 4) {
        const share = cover[down * size + across]!;
        if (share === 0) continue;
        const keep = FULL - share;
        pixels[pixel] = (pixels[pixel]! * keep + red * share) >> 8;
        pixels[pixel + 1] = (pixels[pixel + 1]! * keep + green * share) >> 8;
        pixels[pixel + 2] = (pixels[pixel + 2]! * keep + blue * share) >> 8;
      }
    }
    drawn++;
  }
  return drawn;
}
