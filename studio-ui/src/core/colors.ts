// Color tables of 256 RGB triples, exported from the Python package so that both draw the same colors.
import exported from "./colormaps.json";
import { decodeBytes } from "./grid";

export type ColorTable = Uint8Array;

const decoded = new Map<string, ColorTable>();

export const DIVERGING = exported.diverging;
export const COLOR_MAPS: readonly string[] = Object.keys(exported.tables).filter((name) => name !== DIVERGING);

/** The table with this name, or the default table if the name is unknown. */
export function colorTable(name: string): ColorTable {
  const tables = exported.tables as Record<string, string>;
  const known = name in tables ? name : exported.default;
  let table = decoded.get(known);
  if (!table) decoded.set(known, (table = decodeBytes(tables[known]!)));
  return table;
}

export const DEFAULT_COLORS = exported.default;
