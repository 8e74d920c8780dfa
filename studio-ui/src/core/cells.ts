// A sparse confusion matrix: the cells in a window, and the next non-empty cell in a direction.

export interface Cells {
  readonly labels: readonly number[];
  readonly predictions: readonly number[];
  readonly counts: readonly number[];
}

export interface Cell {
  readonly row: number;
  readonly column: number;
  readonly count: number;
}

/** The non-zero cells of a square matrix, by row. */
export class SparseMatrix {
  readonly rows: readonly (readonly Cell[])[];
  readonly sums: readonly number[];

  constructor(
    readonly size: number,
    { labels, predictions, counts }: Cells,
  ) {
    const rows = Array.from({ length: size }, (): Cell[] => []);
    labels.forEach((row, i) => {
      if (counts[i]! > 0) rows[row]!.push({ row, column: predictions[i]!, count: counts[i]! });
    });
    this.rows = rows.map((cells) => cells.sort((a, b) => a.column - b.column));
    this.sums = rows.map((cells) => cells.reduce((sum, { count }) => sum + count, 0));
  }

  row(row: number): readonly Cell[] {
    return this.rows[row] ?? [];
  }

  at(row: number, column: number): number {
    return this.row(row).find((cell) => cell.column === column)?.count ?? 0;
  }

  /** The non-empty cells of a window, excluding row `bottom` and column `right`. */
  *within(top: number, left: number, bottom: number, right: number): Generator<Cell> {
    for (const row of this.rows.slice(Math.max(0, top), Math.max(0, bottom))) yield* row.filter(({ column }) => column >= left && column < right);
  }

  /** The next non-empty cell for an arrow key, or null: in the same row, or the nearest one of the next non-empty row. */
  next(row: number, column: number, key: string): Cell | null {
    if (key === "ArrowRight") return this.row(row).find((cell) => cell.column > column) ?? null;
    if (key === "ArrowLeft") return this.row(row).findLast((cell) => cell.column < column) ?? null;
    const step = key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
    if (step === 0) return null;
    for (let place = row + step; place >= 0 && place < this.size; place += step) {
      const cells = this.row(place);
      if (cells.length === 0) continue;
      return cells.reduce((best, cell) => (Math.abs(cell.column - column) < Math.abs(best.column - column) ? cell : best));
    }
    return null;
  }
}

/** What the components of the matrix take. */
export interface MatrixProps {
  readonly matrix: SparseMatrix;
  readonly label: number | null;
  readonly prediction: number | null;
  readonly onchoose: (label: number, prediction: number) => void;
}
