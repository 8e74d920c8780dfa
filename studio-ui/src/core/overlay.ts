// Colours on a picture: a heat map's values become colours, and are blended over the photograph.
import type { ColourTable } from "./colours";
import type { Frame, Grid } from "./grid";

export interface Picture extends Frame {
  /** RGBA, four bytes a pixel. */
  readonly pixels: Uint8ClampedArray;
}

export interface Look {
  /** Opacity of the heat map, 0 to 1. */
  readonly opacity: number;
  /** Heat below this value (0 to 1) is not drawn. */
  readonly threshold: number;
  /** Draw a line where the heat crosses the threshold (or half of the maximum, without a threshold). */
  readonly contour: boolean;
}

export const PLAIN: Look = { opacity: 0.5, threshold: 0, contour: false };
const CONTOUR_AT = 0.5;
const LINE = [255, 255, 255] as const;

/** The colour table's row of a value in [0, 1]; signed values in [-1, 1] come with `signed`. */
export function tableRow(value: number, signed = false): number {
  const share = signed ? (value + 1) / 2 : value;
  return Math.max(0, Math.min(255, Math.floor(share * 255 + 0.5)));
}

const NEUTRAL = 128 * 3;
const STRIPES = 32;
const GAP_OPACITY = 0.6;

/** Whether a pixel lies in a gap between the diagonal stripes that opposing evidence is drawn in. */
function gapsOf(height: number, width: number): (at: number) => boolean {
  const band = Math.max(2, Math.floor(Math.max(height, width) / (2 * STRIPES)));
  return (at) => Math.floor((Math.floor(at / width) + (at % width)) / band) % 2 === 1;
}

/** The heat map alone, in colours; what is negative in a signed map is drawn in stripes, what was not seen is left out. */
export function coloured(heat: Grid, table: ColourTable, signed = false): Picture {
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
 * The picture under its heat map: `round(image * (1 - opacity) + colour * opacity)` where the heat is drawn.
 * Under signed evidence the picture loses its colours, so that none is taken for the map's; the colour says the sign and
 * the opacity, `sqrt(opacity * magnitude)`, how much; what is negative is drawn in stripes,
 * with white between them. Where the heat is NaN, the picture stays as it is.
 */
export function blended(picture: Picture, heat: Grid, table: ColourTable, look: Look, signed = false): Picture {
  const pixels = signed ? withoutColours(picture.pixels) : new Uint8ClampedArray(picture.pixels);
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

function withoutColours(pixels: Uint8ClampedArray): Uint8ClampedArray {
  const grey = new Uint8ClampedArray(pixels);
  for (let i = 0; i < grey.length; i += 4) {
    grey.fill(Math.floor(0.299 * grey[i]! + 0.587 * grey[i + 1]! + 0.114 * grey[i + 2]! + 0.5), i, i + 3);
  }
  return grey;
}

const FADED = 0.62; // how much of a pixel that the model does not see is replaced by grey
const GREY = 150;

/** The picture with what the model does not see grey and faded, and a thin line around what it sees. */
export function marked(picture: Picture): Picture {
  if (!picture.region) return picture;
  const { height, width, region } = picture;
  const [left, top, right, bottom] = region.map((share, i) => share * (i % 2 ? height : width)) as [number, number, number, number];
  const line = Math.max(1, Math.round(Math.max(height, width) / 300));
  const pixels = new Uint8ClampedArray(picture.pixels);
  const grey = withoutColours(picture.pixels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const beyond = Math.max(left - x - 0.5, x + 0.5 - right, top - y - 0.5, y + 0.5 - bottom);
      if (beyond <= 0) continue;
      const at = (y * width + x) * 4;
      if (beyond <= line) pixels.set(LINE, at);
      else pixels.fill(grey[at]! * (1 - FADED) + GREY * FADED, at, at + 3);
    }
  }
  return { ...picture, pixels };
}

/** Mark every pixel at or above `level` that touches one below it. */
function drawContour(pixels: Uint8ClampedArray, heat: Grid, level: number): void {
  const { height, width, values } = heat;
  const inside = (y: number, x: number): boolean => Math.abs(values[y * width + x]!) >= level;
  const below = (y: number, x: number): boolean => Math.abs(values[y * width + x]!) < level; // not NaN: no border
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
