import { describe, expect, it } from "vitest";
import { SparseMatrix } from "../src/core/cells";

// 4 x 4:  row 0: 5 . 1 .   row 1: empty   row 2: . . 7 2   row 3: 3 . . 9
const matrix = new SparseMatrix(4, {
  labels: [3, 0, 2, 0, 2, 3, 1],
  predictions: [3, 2, 3, 0, 2, 0, 1],
  counts: [9, 1, 2, 5, 7, 3, 0],
});

describe("a sparse matrix", () => {
  it("knows counts and the sum of each row, and keeps no zeros", () => {
    expect(matrix.at(0, 2)).toBe(1);
    expect(matrix.at(1, 1)).toBe(0);
    expect([...matrix.sums]).toEqual([6, 0, 9, 12]);
    expect(matrix.rows.flat()).toHaveLength(6);
  });

  it("gives what a window shows", () => {
    expect([...matrix.within(0, 0, 3, 3)].map(({ count }) => count)).toEqual([5, 1, 7]);
    expect([...matrix.within(-5, 3, 99, 99)].map(({ count }) => count)).toEqual([2, 9]);
  });

  it("walks over filled cells only", () => {
    expect(matrix.next(0, 0, "ArrowRight")).toMatchObject({ row: 0, column: 2 });
    expect(matrix.next(0, 2, "ArrowRight")).toBeNull();
    expect(matrix.next(2, 3, "ArrowLeft")).toMatchObject({ row: 2, column: 2 });
    expect(matrix.next(0, 0, "ArrowDown")).toMatchObject({ row: 2, column: 2 });
    expect(matrix.next(2, 3, "ArrowDown")).toMatchObject({ row: 3, column: 3 });
    expect(matrix.next(3, 0, "ArrowUp")).toMatchObject({ row: 2, column: 2 });
    expect(matrix.next(0, 0, "ArrowUp")).toBeNull();
    expect(matrix.next(0, 0, "Enter")).toBeNull();
  });
});
