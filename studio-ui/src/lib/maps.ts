// Maps of the API as grids, and numbers as text.
import type { MapResult, Schemas } from "../api/client";
import { decodeGrid, type Grid } from "../core/grid";

const decoded = new WeakMap<Schemas["GridValues"], Grid>();

export const gridOf = (map: MapResult): Grid => gridFrom(map.grid);

export function gridFrom(values: Schemas["GridValues"]): Grid {
  let grid = decoded.get(values);
  if (!grid) decoded.set(values, (grid = decodeGrid(values.shape, values.values)));
  return grid;
}

export const sizeText = (grid: readonly number[] | null | undefined): string => grid?.join(" × ") ?? "";
export const percent = (share: number | null | undefined, digits = 0): string =>
  share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;

/** The layer of a map as text: "input" and "tokens" are no layers, and a plus joins layers fused into one map. */
export const layerText = (name: string): string =>
  ({ input: "the input image", tokens: "the tokens" })[name] ?? name.replaceAll("+", " + ");

/** A number with four significant digits or thousands separators. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
}
