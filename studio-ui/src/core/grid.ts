// Grids of map values, and their conversion to heat maps in [0, 1]: rectify, normalize, resize.

/** Left, top, right and bottom of the model's input, in fractions of the image. Values outside [0, 1] are padding. */
export type Region = readonly [number, number, number, number];
export const WHOLE: Region = [0, 0, 1, 1];

/** The size of an image and the region that the model sees; without a region, the whole image. */
export interface Frame {
  readonly height: number;
  readonly width: number;
  readonly region?: Region | null;
}

export interface Grid {
  readonly height: number;
  readonly width: number;
  readonly values: Float32Array;
}

/** The direction of each arrow key, as steps to the right and down. */
export const ARROWS: Readonly<Record<string, readonly [right: number, down: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Convert a coordinate in [0, 1] from the model's input to the image, and back. */
export const outward = (share: number, low: number, high: number): number => low + share * (high - low);
export const inward = (share: number, low: number, high: number): number => (share - low) / (high - low);

/** The value and the cell at a point with coordinates in [0, 1]. */
export function cellAt(grid: Omit<Grid, "values"> & { values: ArrayLike<number> }, x: number, y: number): { value: number; row: number; column: number } {
  const at = (share: number, size: number): number => Math.max(0, Math.min(size - 1, Math.floor(share * size)));
  const [row, column] = [at(y, grid.height), at(x, grid.width)];
  return { value: grid.values[row * grid.width + column]!, row, column };
}

/** Decode a grid of little-endian float32 values in base64. */
export function decodeGrid(shape: readonly number[], base64: string): Grid {
  const [height, width] = shape as [number, number];
  const bytes = decodeBytes(base64);
  const values = new Float32Array(bytes.buffer, 0, bytes.length >> 2);
  if (values.length !== height * width) throw new Error(`${values.length} values for ${height} x ${width}`);
  return { height, width, values };
}

export function decodeBytes(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The lowest and highest finite value; [0, 0] if there is none. */
export function range(values: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low && value > -Infinity) low = value;
    if (value > high && value < Infinity) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

/** Replace negative values and NaN by zero. */
export function rectified(grid: Grid): Grid {
  return { ...grid, values: grid.values.map((value) => (value > 0 ? value : 0)) };
}

/** Scale `low` to 0 and `high` to 1, by default the grid's own range. A constant grid becomes zero. */
export function normalized(grid: Grid, [low, high]: [number, number] = range(grid.values)): Grid {
  const span = high - low;
  return { ...grid, values: grid.values.map((value) => (span > 0 ? (value - low) / span : 0)) };
}

interface Steps {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly share: Float32Array;
}

function steps(from: number, to: number, low: number, high: number): Steps {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const share = new Float32Array(to);
  const scale = from / (to * (high - low));
  for (let i = 0; i < to; i++) {
    const into = i + 0.5 - low * to;
    const position = Math.max(0, into * scale - 0.5);
    const cell = Math.min(Math.floor(position), from - 1);
    first[i] = cell;
    second[i] = Math.min(cell + 1, from - 1);
    share[i] = into < 0 || i + 0.5 > high * to ? NaN : position - cell;
  }
  return { first, second, share };
}

/**
 * Resize a grid to the region of an image, bilinear with `align_corners=False` as the Python package does.
 * Pixels outside the region are NaN.
 */
export function resized(grid: Grid, { height, width, region }: Frame): Grid {
  if (grid.height === height && grid.width === width && !region) return grid;
  const [left, top, right, bottom] = region ?? WHOLE;
  const rows = steps(grid.height, height, top, bottom);
  const columns = steps(grid.width, width, left, right);
  const wide = new Float32Array(grid.height * width);
  for (let y = 0; y < grid.height; y++) {
    for (let x = 0; x < width; x++) {
      const before = grid.values[y * grid.width + columns.first[x]!]!;
      const after = grid.values[y * grid.width + columns.second[x]!]!;
      wide[y * width + x] = before + (after - before) * columns.share[x]!;
    }
  }
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const above = rows.first[y]! * width;
    const below = rows.second[y]! * width;
    const share = rows.share[y]!;
    for (let x = 0; x < width; x++) {
      const upper = wide[above + x]!;
      values[y * width + x] = upper + (wide[below + x]! - upper) * share;
    }
  }
  return { height, width, values };
}

/** The heat map of a map, at the size of an image. `highest` sets a scale that several maps share. */
export function heatmap(map: Grid, frame: Frame, highest?: number): Grid {
  const positive = rectified(map);
  const scaled = highest === undefined ? normalized(positive) : normalized(positive, [0, highest]);
  return resized(scaled, frame);
}

/** The 99.5th percentile of the absolute values: a few extreme pixels must not hide the others. */
export function magnitude(map: Grid): number {
  const sizes = map.values.map((value) => (Number.isFinite(value) ? Math.abs(value) : 0)).sort();
  const last = sizes.length - 1;
  return sizes[last - Math.floor(sizes.length / 200)]! || sizes[last]!;
}

/** A signed map divided by its magnitude, at the size of an image: values in [-1, 1], zero stays zero. */
export function signedmap(map: Grid, frame: Frame, most = magnitude(map)): Grid {
  const share = (value: number): number => (most > 0 ? Math.max(-1, Math.min(1, value / most)) || 0 : 0);
  return resized({ ...map, values: map.values.map(share) }, frame);
}
