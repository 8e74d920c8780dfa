// What a map's numbers say in words: its share of energy, its likeness to another, whether it is empty.
import { normalised, rectified, type Grid } from "./grid";

/** Pearson correlation of two grids of one size; NaN where one of them is constant. */
export function correlation(a: Grid, b: Grid): number {
  const count = a.values.length;
  let meanA = 0;
  let meanB = 0;
  for (let i = 0; i < count; i++) {
    meanA += a.values[i]! / count;
    meanB += b.values[i]! / count;
  }
  let both = 0;
  let squareA = 0;
  let squareB = 0;
  for (let i = 0; i < count; i++) {
    const left = a.values[i]! - meanA;
    const right = b.values[i]! - meanB;
    both += left * right;
    squareA += left * left;
    squareB += right * right;
  }
  return both / Math.sqrt(squareA * squareB);
}

/** Heat map `a` minus heat map `b`, cell by cell: positive where the first is hotter, in [-1, 1]. */
export function difference(a: Grid, b: Grid): Grid {
  const first = normalised(rectified(a)).values;
  const second = normalised(rectified(b)).values;
  return { ...a, values: first.map((value, i) => value - second[i]!) };
}

/** The share of a map's positive evidence that lies in its hottest tenth of cells: 0.1 is flat, 1 is one spot. */
export function focus(map: Grid): number {
  const heat = rectified(map).values.toSorted();
  const total = heat.reduce((sum, value) => sum + value, 0);
  const hottest = heat.subarray(heat.length - Math.max(1, Math.round(heat.length / 10)));
  return total > 0 ? hottest.reduce((sum, value) => sum + value, 0) / total : 0;
}
