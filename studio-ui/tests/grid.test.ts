import { describe, expect, it } from "vitest";
import { cellAt, decodeGrid, heatmap, magnitude, normalized, range, rectified, resized, signedmap, type Grid } from "../src/core/grid";
import { partOf } from "../src/core/paint";

const grid = (height: number, width: number, ...values: number[]): Grid => ({
  height,
  width,
  values: Float32Array.from(values),
});

describe("from signed evidence to a heat map", () => {
  it("reads float32 values from little-endian base64", () => {
    const bytes = new Uint8Array(Float32Array.from([1.5, -2, 0, 8]).buffer);
    const decoded = decodeGrid([2, 2], btoa(String.fromCharCode(...bytes)));
    expect([...decoded.values]).toEqual([1.5, -2, 0, 8]);
  });

  it("refuses values that do not fill the grid", () => {
    expect(() => decodeGrid([2, 3], btoa("abcd"))).toThrow("1 values for 2 x 3");
  });

  it("drops evidence against the target and NaN", () => {
    expect([...rectified(grid(1, 4, -1, 2, NaN, 0)).values]).toEqual([0, 2, 0, 0]);
  });

  it("finds the range of finite values only", () => {
    expect(range(Float32Array.from([NaN, -3, 4, Infinity]))).toEqual([-3, 4]);
    expect(range(Float32Array.from([NaN]))).toEqual([0, 0]);
  });

  it("stretches to [0, 1], and leaves a constant map empty instead of dividing by zero", () => {
    expect([...normalized(grid(1, 3, 2, 4, 6)).values]).toEqual([0, 0.5, 1]);
    expect([...normalized(grid(1, 2, 5, 5)).values]).toEqual([0, 0]);
  });

  it("enlarges between cell centres with corners not aligned", () => {
    expect([...resized(grid(1, 2, 0, 1), { height: 1, width: 4 }).values]).toEqual([0, 0.25, 0.75, 1]);
  });

  it("shrinks by sampling at the centres, as the engine does", () => {
    expect([...resized(grid(1, 4, 0, 1, 2, 3), { height: 1, width: 2 }).values]).toEqual([0.5, 2.5]);
  });

  it("keeps one scale for several maps when told the highest value", () => {
    expect([...heatmap(grid(1, 2, 0, 1), { height: 1, width: 2 }, 4).values]).toEqual([0, 0.25]);
  });

  it("lets one cell in 200 lie beyond a signed map's scale, and none in a small map", () => {
    const values = Array.from({ length: 400 }, (_, i) => (i === 7 ? -100 : i === 9 ? 50 : (i % 5) - 2));
    expect(magnitude(grid(20, 20, ...values))).toBe(2);
    expect(signedmap(grid(20, 20, ...values), { height: 20, width: 20 }).values[7]).toBe(-1);
    expect(magnitude(grid(1, 3, 1, NaN, -100))).toBe(100);
    expect(magnitude(grid(20, 20, ...values.map((_, i) => (i === 0 ? -3 : 0))))).toBe(3);
  });

  it("divides a signed map by its largest magnitude, so that zero stays zero", () => {
    expect([...signedmap(grid(1, 3, -4, 0, 2), { height: 1, width: 3 }).values]).toEqual([-1, 0, 0.5]);
  });
});

describe("a map on the region that the model sees", () => {
  const hottest = (values: Float32Array): number => values.indexOf(Math.max(...values.filter((value) => !Number.isNaN(value))));

  it("lies on the columns of the region and is NaN beside it", () => {
    const placed = resized(grid(1, 2, 0, 1), { height: 1, width: 8, region: [0.25, 0, 0.75, 1] });
    expect([...placed.values]).toEqual([NaN, NaN, 0, 0.25, 0.75, 1, NaN, NaN]);
  });

  it("paints the heat of a 300 x 900 photograph, cropped to a square, at the object's own column 350", () => {
    // of a resize to 256 (768 x 256) and a crop of 224 from column 272: the object lies 26.67 pixels into the crop
    const [left, right] = [272 / 768, 496 / 768];
    const map = grid(1, 224, ...Array.from({ length: 224 }, (_, i) => (i === Math.floor(350 * (256 / 300) - 272) ? 1 : 0)));
    const heat = heatmap(map, { height: 300, width: 900, region: [left, 16 / 256, right, 240 / 256] });
    const row = heat.values.subarray(150 * 900, 151 * 900);
    expect(Math.abs(hottest(row) - 350)).toBeLessThan(2);
    expect([row[318], row[319], row[580], row[582]].map(Number.isNaN)).toEqual([true, false, false, true]);
    expect(Number.isNaN(heat.values[18 * 900 + 350])).toBe(true);
    expect(Number.isNaN(heat.values[19 * 900 + 350])).toBe(false);
  });

  it("is cut where the model saw padding beyond the picture", () => {
    const placed = resized(grid(1, 4, 0, 1, 2, 3), { height: 1, width: 2, region: [-0.5, 0, 1.5, 1] });
    expect([...placed.values]).toEqual([1, 2]);
  });

  it("keeps evidence for and against within the region", () => {
    const placed = signedmap(grid(1, 2, -4, 2), { height: 1, width: 4, region: [0.5, 0, 1, 1] });
    expect([...placed.values]).toEqual([NaN, NaN, -1, 0.5]);
  });

  it("finds the cell under a point, also on the very border", () => {
    expect([0, 0.49, 0.51, 1].map((x) => cellAt(grid(1, 2, 5, 9), x, 0))).toEqual(
      [0, 0, 1, 1].map((column) => ({ value: [5, 9][column], row: 0, column })),
    );
  });
});

describe("the part of a picture that is shown", () => {
  it("is all of it, or the region alone", () => {
    expect(partOf([0.25, 0, 0.75, 1], false)).toEqual({ part: [0, 0, 1, 1], region: [0.25, 0, 0.75, 1] });
    expect(partOf([0.25, 0, 0.75, 1], true)).toEqual({ part: [0.25, 0, 0.75, 1], region: null });
    expect(partOf(null, true)).toEqual({ part: [0, 0, 1, 1], region: null });
  });

  it("leaves padding out, and still places the map exactly", () => {
    expect(partOf([0.25, -0.5, 0.75, 1.5], true)).toEqual({ part: [0.25, 0, 0.75, 1], region: [0, -0.5, 1, 1.5] });
  });
});
