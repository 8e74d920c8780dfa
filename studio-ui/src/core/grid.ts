// Grids of map values, and the way from signed evidence to a heat map in [0, 1]: rectify, normalise, resize.

export interface Grid {
  readonly height: number;
  readonly width: number;
  readonly values: Float32Array;
}

/** The grid whose float32 values travelled as little-endian base64. */
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

/** Lowest and highest finite value; [0, 0] where nothing is finite. */
export function range(values: Float32Array): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low && value > -Infinity) low = value;
    if (value > high && value < Infinity) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

/** Only the evidence for the target: negative and undefined values become zero. */
export function rectified(grid: Grid): Grid {
  return { ...grid, values: grid.values.map((value) => (value > 0 ? value : 0)) };
}

/** The grid minus `low`, divided by `high - low`; by default its own range. A constant grid becomes zero. */
export function normalised(grid: Grid, [low, high]: [number, number] = range(grid.values)): Grid {
  const span = high - low;
  return { ...grid, values: grid.values.map((value) => (span > 0 ? (value - low) / span : 0)) };
}

interface Steps {
  readonly first: Int32Array;
  readonly second: Int32Array;
  readonly share: Float32Array;
}

function steps(from: number, to: number): Steps {
  const first = new Int32Array(to);
  const second = new Int32Array(to);
  const share = new Float32Array(to);
  const scale = from / to;
  for (let i = 0; i < to; i++) {
    const position = Math.max(0, (i + 0.5) * scale - 0.5);
    const cell = Math.min(Math.floor(position), from - 1);
    first[i] = cell;
    second[i] = Math.min(cell + 1, from - 1);
    share[i] = position - cell;
  }
  return { first, second, share };
}

/** The grid at another size, bilinear with corners not aligned: what the Python engine does. */
export function resized(grid: Grid, height: number, width: number): Grid {
  if (grid.height === height && grid.width === width) return grid;
  const rows = steps(grid.height, height);
  const columns = steps(grid.width, width);
  const wide = new Float32Array(grid.height * width);
  for (let y = 0; y < grid.height; y++) {
    for (let x = 0; x < width; x++) {
      const left = grid.values[y * grid.width + columns.first[x]!]!;
      const right = grid.values[y * grid.width + columns.second[x]!]!;
      wide[y * width + x] = left + (right - left) * columns.share[x]!;
    }
  }
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const above = rows.first[y]! * width;
    const below = rows.second[y]! * width;
    const share = rows.share[y]!;
    for (let x = 0; x < width; x++) {
      const top = wide[above + x]!;
      values[y * width + x] = top + (wide[below + x]! - top) * share;
    }
  }
  return { height, width, values };
}

/** The heat map of a signed map at picture size. `highest` shares one scale between several maps. */
export function heatmap(map: Grid, height: number, width: number, highest?: number): Grid {
  const positive = rectified(map);
  const scaled = highest === undefined ? normalised(positive) : normalised(positive, [0, highest]);
  return resized(scaled, height, width);
}

/** The magnitude that only one cell in 200 exceeds: a few extreme pixels must not hide all others. */
export function magnitude(map: Grid): number {
  const sizes = map.values.map((value) => (Number.isFinite(value) ? Math.abs(value) : 0)).sort();
  const last = sizes.length - 1;
  return sizes[last - Math.floor(sizes.length / 200)]! || sizes[last]!;
}

/** A signed map at picture size, divided by its magnitude: values in [-1, 1], zero stays zero. */
export function signedmap(map: Grid, height: number, width: number, most = magnitude(map)): Grid {
  const share = (value: number): number => (most > 0 ? Math.max(-1, Math.min(1, value / most)) || 0 : 0);
  return resized({ ...map, values: map.values.map(share) }, height, width);
}
