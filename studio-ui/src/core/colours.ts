// Colour tables: 256 RGB triples per name, exported from the Python package so that both draw alike.
import exported from "./colormaps.json";
import { decodeBytes } from "./grid";

export type ColourTable = Uint8Array;

const decoded = new Map<string, ColourTable>();

export const DIVERGING = exported.diverging;
export const COLOUR_MAPS: readonly string[] = Object.keys(exported.tables).filter((name) => name !== DIVERGING);

/** The table of `name`, or of the default where the name is unknown. */
export function colourTable(name: string): ColourTable {
  const tables = exported.tables as Record<string, string>;
  const known = name in tables ? name : exported.default;
  let table = decoded.get(known);
  if (!table) decoded.set(known, (table = decodeBytes(tables[known]!)));
  return table;
}

export const DEFAULT_COLOURS = exported.default;
