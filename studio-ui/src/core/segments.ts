// Segments of an image: labels, weights and borders.
import { cellAt, decodeBytes, inward, WHOLE, type Frame, type Grid } from "./grid";

/** The label of pixels outside of the model's input. */
export const UNSEEN = 0xffff;

export interface Labels {
  readonly height: number;
  readonly width: number;
  /** The segment index of every pixel. */
  readonly values: Uint16Array;
}

/** Decode labels of little-endian uint16 values in base64. */
export function decodeLabels(shape: readonly number[], base64: string): Labels {
  const [height, width] = shape as [number, number];
  const bytes = decodeBytes(base64);
  const values = new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
  if (values.length !== height * width) throw new Error(`${values.length} labels for ${height} x ${width}`);
  return { height, width, values };
}

/** Resize labels to an image by nearest neighbor; pixels outside the region are UNSEEN. */
export function labelsAt(labels: Labels, { height, width, region }: Frame): Labels {
  if (labels.height === height && labels.width === width && !region) return labels;
  const [left, top, right, bottom] = region ?? WHOLE;
  const cells = (to: number, from: number, low: number, high: number): number[] =>
    Array.from({ length: to }, (_, i) => Math.floor(inward((i + 0.5) / to, low, high) * from));
  const rows = cells(height, labels.height, top, bottom);
  const columns = cells(width, labels.width, left, right);
  const values = new Uint16Array(height * width).fill(UNSEEN);
  rows.forEach((row, y) => {
    if (row < 0 || row >= labels.height) return;
    columns.forEach((column, x) => {
      if (column >= 0 && column < labels.width) values[y * width + x] = labels.values[row * labels.width + column]!;
    });
  });
  return { height, width, values };
}

/** The segment at a point with coordinates in [0, 1]. */
export const labelAt = (labels: Labels, x: number, y: number): number => cellAt(labels, x, y).value;

/** The weight of every pixel's segment. */
export function weightGrid(labels: Labels, weights: readonly number[]): Grid {
  return { height: labels.height, width: labels.width, values: Float32Array.from(labels.values, (label) => weights[label] ?? 0) };
}

export type Color = readonly [number, number, number, number?];

/**
 * Draw the inner edges of segments, `thickness` pixels wide. `colorOf` returns the color of a segment, or null to skip
 * it. `frame` also draws along the border of the model's input. Pixels are RGBA.
 */
export function drawEdges(
  pixels: Uint8ClampedArray,
  labels: Labels,
  colorOf: (label: number) => Color | null,
  thickness = 1,
  frame = false,
): void {
  const { height, width, values } = labels;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const label = values[y * width + x]!;
      const color = label === UNSEEN ? null : colorOf(label);
      if (!color || !isEdge(labels, x, y, label, thickness, frame)) continue;
      const [red, green, blue, alpha = 255] = color;
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
      const other = outside ? UNSEEN : values[row * width + column];
      if (other === UNSEEN ? frame : other !== label) return true;
    }
  }
  return false;
}
