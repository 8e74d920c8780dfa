// Measures of maps: correlation, difference, focus.
import { normalized, rectified, type Grid } from "./grid";

/** The Pearson correlation of two grids of equal size; NaN if one of them is constant. */
export function correlation(a: Grid, b: Grid): number {
  const [left, right] = [centered(a), centered(b)];
  const product = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return product(left, right) / Math.sqrt(product(left, left) * product(right, right));
}

function centered({ values }: Grid): Float64Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Float64Array.from(values, (value) => value - mean);
}

/** Heat map `a` minus heat map `b`, in [-1, 1]. */
export function difference(a: Grid, b: Grid): Grid {
  const first = normalized(rectified(a)).values;
  const second = normalized(rectified(b)).values;
  return { ...a, values: first.map((value, i) => value - second[i]!) };
}

/** The share of the positive evidence in the top 10 % of cells: 0.1 if uniform, 1 if concentrated. */
export function focus(map: Grid): number {
  const heat = rectified(map).values.toSorted();
  const total = heat.reduce((sum, value) => sum + value, 0);
  const hottest = heat.subarray(heat.length - Math.max(1, Math.round(heat.length / 10)));
  return total > 0 ? hottest.reduce((sum, value) => sum + value, 0) / total : 0;
}
