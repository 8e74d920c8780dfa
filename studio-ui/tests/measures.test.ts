import { expect, it } from "vitest";
import { correlation, difference, focus } from "../src/core/measures";
import type { Grid } from "../src/core/grid";

const row = (...values: number[]): Grid => ({ height: 1, width: values.length, values: Float32Array.from(values) });

it("correlates a map with its multiple fully, and with its opposite fully the other way", () => {
  expect(correlation(row(0, 1, 5), row(1, 3, 11))).toBeCloseTo(1, 6);
  expect(correlation(row(0, 1, 2), row(2, 1, 0))).toBeCloseTo(-1, 6);
});

it("says that a constant map cannot be compared", () => {
  expect(correlation(row(1, 1), row(0, 2))).toBeNaN();
});

it("subtracts heat maps, each on its own scale", () => {
  expect([...difference(row(0, 2, 4), row(0, 10, -3)).values]).toEqual([0, -0.5, 1]);
});

it("calls one spot focused and an even map not", () => {
  expect(focus(row(...Array<number>(9).fill(0), 3))).toBe(1);
  expect(focus(row(...Array<number>(20).fill(2)))).toBeCloseTo(0.1, 6);
});
