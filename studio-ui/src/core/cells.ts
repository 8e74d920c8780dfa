// The filled cells of a large matrix, row by row: which ones a window shows, and which comes next for a key.

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

/** Cells sorted by row, then column; zeros are not kept. */
export class SparseMatrix {
  readonly cells: readonly Cell[];
  readonly sums: Float64Array;
  readonly #starts: Uint32Array;

  constructor(
    readonly size: number,
    { labels, predictions, counts }: Cells,
  ) {
    this.cells = labels
      .map((row, place) => ({ row, column: predictions[place]!, count: counts[place]! }))
      .filter((cell) => cell.count > 0)
      .sort((a, b) => a.row - b.row || a.column - b.column);
    this.sums = new Float64Array(size);
    this.#starts = new Uint32Array(size + 1);
    for (const cell of this.cells) {
      this.sums[cell.row]! += cell.count;
      this.#starts[cell.row + 1]!++;
    }
    for (let row = 0; row < size; row++) this.#starts[row + 1]! += this.#starts[row]!;
  }

  row(row: number): readonly Cell[] {
    return row < 0 || row >= this.size ? [] : this.cells.slice(this.#starts[row]!, this.#starts[row + 1]!);
  }

  at(row: number, column: number): number {
    return this.row(row).find((cell) => cell.column === column)?.count ?? 0;
  }

  /** The filled cells of a window, last row and column left out. */
  *within(top: number, left: number, bottom: number, right: number): Generator<Cell> {
    for (let row = Math.max(0, top); row < Math.min(this.size, bottom); row++) {
      for (const cell of this.row(row)) if (cell.column >= left && cell.column < right) yield cell;
    }
  }

  /** The next filled cell in a direction, or null: along the row, or the nearest column of the next filled row. */
  next(row: number, column: number, key: string): Cell | null {
    if (key === "ArrowRight") return this.row(row).find((cell) => cell.column > column) ?? null;
    if (key === "ArrowLeft") return this.row(row).findLast((cell) => cell.column < column) ?? null;
    const step = key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0;
    if (step === 0) return null;
    for (let place = row + step; place >= 0 && place < this.size; place += step) {
      const filled = this.row(place);
      if (filled.length === 0) continue;
      return filled.reduce((best, cell) => (Math.abs(cell.column - column) < Math.abs(best.column - column) ? cell : best));
    }
    return null;
  }
}
