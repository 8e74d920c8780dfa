import { describe, expect, it } from "vitest";
import { decodeLabels, drawEdges, labelAt, labelsAt, UNSEEN, weightGrid, type Labels } from "../src/core/segments";
import { secondsText } from "../src/lib/costs";

const labels = (height: number, width: number, ...values: number[]): Labels => ({
  height,
  width,
  values: Uint16Array.from(values),
});
const HALVES = labels(4, 4, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1);
const drawn = (pixels: Uint8ClampedArray): number[] => Array.from({ length: pixels.length / 4 }, (_, i) => pixels[i * 4 + 3]!);

describe("segments", () => {
  it("reads uint16 labels from little-endian base64, and refuses those that do not fill the picture", () => {
    const bytes = new Uint8Array(Uint16Array.from([0, 300]).buffer);
    expect([...decodeLabels([1, 2], btoa(String.fromCharCode(...bytes))).values]).toEqual([0, 300]);
    expect(() => decodeLabels([2, 2], btoa("abcd"))).toThrow("2 labels for 2 x 2");
  });

  it("gives every pixel of a larger picture the label of its cell, and never a number between two", () => {
    expect([...labelsAt(labels(1, 2, 3, 9), { height: 2, width: 5 }).values]).toEqual([3, 3, 9, 9, 9, 3, 3, 9, 9, 9]);
    expect(labelsAt(HALVES, HALVES)).toBe(HALVES);
  });

  it("gives no label and no edge to what the model does not see", () => {
    const placed = labelsAt(labels(1, 2, 3, 9), { height: 1, width: 8, region: [0.25, 0, 0.75, 1] });
    expect([...placed.values]).toEqual([UNSEEN, UNSEEN, 3, 3, 9, 9, UNSEEN, UNSEEN]);
    const pixels = new Uint8ClampedArray(32);
    drawEdges(pixels, placed, () => [255, 255, 255]);
    expect(drawn(pixels)).toEqual([0, 0, 0, 255, 255, 0, 0, 0]);
  });

  it("finds the segment under a point, also on the very border", () => {
    expect([0, 0.49, 0.51, 1].map((x) => labelAt(HALVES, x, 1))).toEqual([0, 0, 1, 1]);
  });

  it("spreads weights over their pixels; a segment without one weighs nothing", () => {
    expect([...weightGrid(labels(1, 3, 1, 0, 2), [0.5, -1]).values]).toEqual([-1, 0.5, 0]);
  });

  it("draws the inner edge of the segments that have a color, on their own side", () => {
    const pixels = new Uint8ClampedArray(64);
    drawEdges(pixels, HALVES, (label) => (label === 1 ? [9, 8, 7] : null));
    expect(drawn(pixels)).toEqual([0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0]);
    expect([...pixels.slice(8, 12)]).toEqual([9, 8, 7, 255]);
  });

  it("draws thicker edges, and the picture's border where asked for", () => {
    const thick = new Uint8ClampedArray(64);
    drawEdges(thick, HALVES, (label) => (label === 1 ? [0, 0, 0] : null), 2);
    expect(drawn(thick).slice(0, 4)).toEqual([0, 0, 255, 255]);
    const framed = new Uint8ClampedArray(36);
    drawEdges(framed, labels(3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0), () => [0, 0, 0], 1, true);
    expect(drawn(framed)).toEqual([255, 255, 255, 255, 0, 255, 255, 255, 255]);
  });
});

describe("what something will cost", () => {
  it("is said in seconds and in minutes", () => {
    expect([0.2, 3.2, 33, 70, 100, 300].map(secondsText)).toEqual([
      "about 1 s",
      "about 3 s",
      "about 35 s",
      "about 70 s",
      "about 2 minutes",
      "about 5 minutes",
    ]);
  });
});
