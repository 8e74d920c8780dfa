// Point colors: distinct ones for classes, and a color map for shares.
import type { ColorTable } from "../colors";
import { tableRow } from "../overlay";

const GOLDEN = 137.508;
const FEW = 14;

/**
 * RGB triples for `count` classes, alternating in lightness; lighter on a dark background. Up to 14 hues are evenly
 * spaced; more are spaced by the golden angle.
 */
export function classColors(count: number, dark: boolean): Uint8Array {
  const table = new Uint8Array(count * 3);
  const step = count <= FEW ? 360 / Math.max(1, count) : GOLDEN;
  for (let index = 0; index < count; index++) {
    const lightness = (dark ? 0.76 : 0.6) + [0, -0.09, 0.06][index % 3]!;
    const chroma = index % 2 ? 0.13 : 0.17;
    table.set(oklch(lightness, chroma, (29 + index * step) % 360), index * 3);
  }
  return table;
}

/** Convert OKLCH to sRGB, clipped to the gamut. */
export function oklch(lightness: number, chroma: number, degrees: number): [number, number, number] {
  const a = chroma * Math.cos((degrees * Math.PI) / 180);
  const b = chroma * Math.sin((degrees * Math.PI) / 180);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    byte(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
    byte(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
    byte(-0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short),
  ];
}

function byte(linear: number): number {
  const value = Math.min(1, Math.max(0, linear));
  const encoded = value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
  return Math.round(encoded * 255);
}

/** The color map row of each share in [0, 1]; NaN gets row 0. */
export function shareRows(shares: Float32Array): Uint16Array {
  return Uint16Array.from(shares, (share) => (Number.isNaN(share) ? 0 : tableRow(share)));
}

export const cssColor = (table: ColorTable, row: number): string =>
  `rgb(${table[row * 3]}, ${table[row * 3 + 1]}, ${table[row * 3 + 2]})`;
