import { describe, expect, it } from "vitest";
import { decodeGrid, heatmap, magnitude, normalised, range, rectified, resized, signedmap, type Grid } from "../src/core/grid";

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
    expect([...normalised(grid(1, 3, 2, 4, 6)).values]).toEqual([0, 0.5, 1]);
    expect([...normalised(grid(1, 2, 5, 5)).values]).toEqual([0, 0]);
  });

  it("enlarges between cell centres with corners not aligned", () => {
    expect([...resized(grid(1, 2, 0, 1), 1, 4).values]).toEqual([0, 0.25, 0.75, 1]);
  });

  it("shrinks by sampling at the centres, as the engine does", () => {
    expect([...resized(grid(1, 4, 0, 1, 2, 3), 1, 2).values]).toEqual([0.5, 2.5]);
  });

  it("keeps one scale for several maps when told the highest value", () => {
    expect([...heatmap(grid(1, 2, 0, 1), 1, 2, 4).values]).toEqual([0, 0.25]);
  });

  it("lets one cell in 200 lie beyond a signed map's scale, and none in a small map", () => {
    const values = Array.from({ length: 400 }, (_, i) => (i === 7 ? -100 : i === 9 ? 50 : (i % 5) - 2));
    expect(magnitude(grid(20, 20, ...values))).toBe(2);
    expect(signedmap(grid(20, 20, ...values), 20, 20).values[7]).toBe(-1);
    expect(magnitude(grid(1, 3, 1, NaN, -100))).toBe(100);
    expect(magnitude(grid(20, 20, ...values.map((_, i) => (i === 0 ? -3 : 0))))).toBe(3);
  });

  it("divides a signed map by its largest magnitude, so that zero stays zero", () => {
    expect([...signedmap(grid(1, 3, -4, 0, 2), 1, 3).values]).toEqual([-1, 0, 0.5]);
  });
});
