// Segments of a picture: which pixel belongs to which, where their borders run, and how much each weighs.
import { decodeBytes, type Grid } from "./grid";

export interface Labels {
  readonly height: number;
  readonly width: number;
  /** The segment's number at every pixel. */
  readonly values: Uint16Array;
}

/** Labels whose uint16 values travelled as little-endian base64. */
export function decodeLabels(shape: readonly number[], base64: string): Labels {
  const [height, width] = shape as [number, number];
  const bytes = decodeBytes(base64);
  const values = new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
  if (values.length !== height * width) throw new Error(`${values.length} labels for ${height} x ${width}`);
  return { height, width, values };
}

/** The labels at another size: every pixel takes that of the cell it lies in. */
export function labelsAt(labels: Labels, height: number, width: number): Labels {
  if (labels.height === height && labels.width === width) return labels;
  const values = new Uint16Array(height * width);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * labels.height) / height) * labels.width;
    for (let x = 0; x < width; x++) {
      values[y * width + x] = labels.values[row + Math.floor(((x + 0.5) * labels.width) / width)]!;
    }
  }
  return { height, width, values };
}

/** The segment at a point, from 0 to 1 along both axes. */
export function labelAt(labels: Labels, x: number, y: number): number {
  const at = (share: number, size: number): number => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
  return labels.values[at(y, labels.height) * labels.width + at(x, labels.width)]!;
}

/** Every pixel with the weight of its segment. */
export function weightGrid(labels: Labels, weights: readonly number[]): Grid {
  return { height: labels.height, width: labels.width, values: Float32Array.from(labels.values, (label) => weights[label] ?? 0) };
}

export type Colour = readonly [number, number, number, number?];

/**
 * Draw the inner edge of segments, `thickness` pixels wide, in the colour that `colourOf` gives them, or not at all
 * where it gives none. `frame` draws it along the picture's border too. Pixels are RGBA.
 */
export function drawEdges(
  pixels: Uint8ClampedArray,
  labels: Labels,
  colourOf: (label: number) => Colour | null,
  thickness = 1,
  frame = false,
): void {
  const { height, width, values } = labels;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const label = values[y * width + x]!;
      const colour = colourOf(label);
      if (!colour || !isEdge(labels, x, y, label, thickness, frame)) continue;
      const [red, green, blue, alpha = 255] = colour;
      pixels.set([red, green, blue, alpha], (y * width + x) * 4);
    }
  }
}

const ACROSS = [-1, 0, 1, -1, 1, -1, 0, 1];
const DOWN = [-1, -1, -1, 0, 0, 1, 1, 1];

function isEdge(labels: Labels, x: number, y: number, label: number, thickness: number, frame: boolean): boolean {
  const { height, width, values } = labels;
  for (let step = 1; step <= thickness; step++) {
    for (let way = 0; way < 8; way++) {
      const column = x + ACROSS[way]! * step;
      const row = y + DOWN[way]! * step;
      const outside = column < 0 || row < 0 || column >= width || row >= height;
      if (outside ? frame : values[row * width + column] !== label) return true;
    }
  }
  return false;
}
