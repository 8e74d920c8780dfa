// Heat maps as colors, alone and blended over an image.
import type { ColorTable } from "./colors";
import type { Frame, Grid } from "./grid";

export interface Picture extends Frame {
  /** RGBA, four bytes per pixel. */
  readonly pixels: Uint8ClampedArray;
}

export interface Look {
  /** Opacity of the heat map, 0 to 1. */
  readonly opacity: number;
  /** Values below this one (0 to 1) are not drawn. */
  readonly threshold: number;
  /** Draw a contour line at the threshold, or at half of the maximum without a threshold. */
  readonly contour: boolean;
}

export const PLAIN: Look = { opacity: 0.5, threshold: 0, contour: false };
const CONTOUR_AT = 0.5;
const LINE = [255, 255, 255] as const;

/** The color table row of a value in [0, 1], or in [-1, 1] if `signed`. */
export function tableRow(value: number, signed = false): number {
  const share = signed ? (value + 1) / 2 : value;
  return Math.max(0, Math.min(255, Math.floor(share * 255 + 0.5)));
}

const NEUTRAL = 128 * 3;
const STRIPES = 32;
const GAP_OPACITY = 0.6;

/** Whether a pixel lies between two of the diagonal stripes that mark negative evidence. */
function gapsOf(height: number, width: number): (at: number) => boolean {
  const band = Math.max(2, Math.floor(Math.max(height, width) / (2 * STRIPES)));
  return (at) => Math.floor((Math.floor(at / width) + (at % width)) / band) % 2 === 1;
}

/** The heat map in colors. Negative values of a signed map are striped; NaN is transparent. */
export function colored(heat: Grid, table: ColorTable, signed = false): Picture {
  const pixels = new Uint8ClampedArray(heat.values.length * 4);
  const gap = gapsOf(heat.height, heat.width);
  for (let i = 0; i < heat.values.length; i++) {
    const value = heat.values[i]!;
    const row = signed && value < 0 && gap(i) ? NEUTRAL : tableRow(value, signed) * 3;
    pixels[i * 4] = table[row]!;
    pixels[i * 4 + 1] = table[row + 1]!;
    pixels[i * 4 + 2] = table[row + 2]!;
    pixels[i * 4 + 3] = Number.isNaN(value) ? 0 : 255;
  }
  return { height: heat.height, width: heat.width, pixels };
}

/**
 * Blend a heat map over an image: `round(image * (1 - opacity) + color * opacity)`.
 * A signed map is blended over the gray image, so that the image's colors are not mistaken for the map's: the color
 * shows the sign and the opacity, `sqrt(opacity * magnitude)`, the strength; negative values are striped.
 * Pixels with a NaN value are left unchanged.
 */
export function blended(picture: Picture, heat: Grid, table: ColorTable, look: Look, signed = false): Picture {
  const pixels = signed ? withoutColors(picture.pixels) : new Uint8ClampedArray(picture.pixels);
  const gap = gapsOf(picture.height, picture.width);
  const { opacity, threshold } = look;
  for (let i = 0; i < heat.values.length; i++) {
    const value = heat.values[i]!;
    const magnitude = Math.abs(value);
    if (!(magnitude >= threshold)) continue;
    const between = signed && value < 0 && gap(i);
    const row = between ? NEUTRAL : tableRow(signed ? Math.sign(value) : value, signed) * 3;
    const lay = signed ? Math.sqrt(opacity * magnitude) * (between ? GAP_OPACITY : 1) : opacity;
    const keep = 1 - lay;
    const at = i * 4;
    for (let channel = 0; channel < 3; channel++) {
      pixels[at + channel] = Math.floor(pixels[at + channel]! * keep + table[row + channel]! * lay + 0.5);
    }
  }
  if (look.contour) drawContour(pixels, heat, threshold > 0 ? threshold : CONTOUR_AT);
  return { ...picture, pixels };
}

function withoutColors(pixels: Uint8ClampedArray): Uint8ClampedArray {
  const gray = new Uint8ClampedArray(pixels);
  for (let i = 0; i < gray.length; i += 4) {
    gray.fill(Math.floor(0.299 * gray[i]! + 0.587 * gray[i + 1]! + 0.114 * gray[i + 2]! + 0.5), i, i + 3);
  }
  return gray;
}

const FADED = 0.62; // the share of gray outside of the model's input
const GRAY = 150;

/** The image with everything outside of the model's input grayed out, and a thin line around the input. */
export function marked(picture: Picture): Picture {
  if (!picture.region) return picture;
  const { height, width, region } = picture;
  const [left, top, right, bottom] = region.map((share, i) => share * (i % 2 ? height : width)) as [number, number, number, number];
  const line = Math.max(1, Math.round(Math.max(height, width) / 300));
  const pixels = new Uint8ClampedArray(picture.pixels);
  const gray = withoutColors(picture.pixels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const beyond = Math.max(left - x - 0.5, x + 0.5 - right, top - y - 0.5, y + 0.5 - bottom);
      if (beyond <= 0) continue;
      const at = (y * width + x) * 4;
      if (beyond <= line) pixels.set(LINE, at);
      else pixels.fill(gray[at]! * (1 - FADED) + GRAY * FADED, at, at + 3);
    }
  }
  return { ...picture, pixels };
}

/** Draw all pixels at or above `level` that have a neighbor below it. */
function drawContour(pixels: Uint8ClampedArray, heat: Grid, level: number): void {
  const { height, width, values } = heat;
  const inside = (y: number, x: number): boolean => Math.abs(values[y * width + x]!) >= level;
  const below = (y: number, x: number): boolean => Math.abs(values[y * width + x]!) < level; // false for NaN: no line along the edge of the input
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(y, x)) continue;
      const edge =
        (y > 0 && below(y - 1, x)) ||
        (y < height - 1 && below(y + 1, x)) ||
        (x > 0 && below(y, x - 1)) ||
        (x < width - 1 && below(y, x + 1));
      if (edge) pixels.set(LINE, (y * width + x) * 4);
    }
  }
}
