import { describe, expect, it } from "vitest";
import { COLOR_MAPS, colorTable, DEFAULT_COLORS, DIVERGING } from "../src/core/colors";
import { blended, colored, marked, PLAIN, tableRow, type Picture } from "../src/core/overlay";
import type { Grid } from "../src/core/grid";

const grey = (height: number, width: number, level: number): Picture => ({
  height,
  width,
  pixels: new Uint8ClampedArray(height * width * 4).fill(level).map((value, i) => (i % 4 === 3 ? 255 : value)),
});
const heat = (height: number, width: number, ...values: number[]): Grid => ({
  height,
  width,
  values: Float32Array.from(values),
});
const pixel = (picture: Picture, at: number): number[] => [...picture.pixels.slice(at * 4, at * 4 + 3)];
const ramp = Uint8Array.from({ length: 768 }, (_, i) => Math.floor(i / 3));

describe("colors", () => {
  it("has 256 colors in every table, and the default and the diverging one among them", () => {
    for (const name of [...COLOR_MAPS, DIVERGING]) expect(colorTable(name)).toHaveLength(768);
    expect(COLOR_MAPS).toContain(DEFAULT_COLORS);
    expect(COLOR_MAPS).not.toContain(DIVERGING);
  });

  it("finds the row of a value, half up, within the table", () => {
    expect([0, 0.5, 1, 1.2, -0.1].map((value) => tableRow(value))).toEqual([0, 128, 255, 255, 0]);
    expect([-1, 0, 1].map((value) => tableRow(value, true))).toEqual([0, 128, 255]);
  });

  it("draws the heat map alone in its colors", () => {
    expect(pixel(colored(heat(1, 2, 0, 1), ramp), 1)).toEqual([255, 255, 255]);
  });
});

describe("the picture under its heat map", () => {
  it("is the picture at opacity 0 and the heat map at opacity 1", () => {
    const picture = grey(1, 1, 40);
    expect(pixel(blended(picture, heat(1, 1, 1), ramp, { ...PLAIN, opacity: 0 }), 0)).toEqual([40, 40, 40]);
    expect(pixel(blended(picture, heat(1, 1, 1), ramp, { ...PLAIN, opacity: 1 }), 0)).toEqual([255, 255, 255]);
  });

  it("mixes by the opacity, rounded half up", () => {
    expect(pixel(blended(grey(1, 1, 40), heat(1, 1, 1), ramp, PLAIN), 0)).toEqual([148, 148, 148]);
  });

  it("leaves pixels below the threshold as they are", () => {
    const drawn = blended(grey(1, 2, 10), heat(1, 2, 0.4, 0.6), ramp, { ...PLAIN, threshold: 0.5 });
    expect(pixel(drawn, 0)).toEqual([10, 10, 10]);
    expect(pixel(drawn, 1)).not.toEqual([10, 10, 10]);
  });

  it("lays signed evidence over a grey picture, with an opacity that follows its magnitude", () => {
    const red = grey(1, 3, 0);
    for (let at = 0; at < 3; at++) red.pixels.set([200, 100, 0], at * 4);
    const drawn = blended(red, heat(1, 3, 0, 0.04, 1), ramp, { ...PLAIN, opacity: 0.5 }, true);
    expect(pixel(drawn, 0)).toEqual([119, 119, 119]);
    expect(pixel(drawn, 1)[0]).toBe(Math.floor(119 * (1 - Math.sqrt(0.02)) + 255 * Math.sqrt(0.02) + 0.5));
    expect(pixel(drawn, 2)[0]).toBe(Math.floor(119 * (1 - Math.sqrt(0.5)) + 255 * Math.sqrt(0.5) + 0.5));
  });

  it("draws opposing evidence in stripes and supporting evidence plain", () => {
    const drawn = blended(grey(1, 8, 90), heat(1, 8, -1, -1, -1, -1, -1, -1, 1, 1), ramp, { ...PLAIN, opacity: 1 }, true);
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((at) => pixel(drawn, at)[0])).toEqual([0, 0, 113, 113, 0, 0, 255, 255]);
    expect(113).toBe(Math.floor(90 * 0.4 + 128 * 0.6 + 0.5));
    const alone = colored(heat(1, 4, -1, -1, -1, 1), ramp, true);
    expect([0, 1, 2, 3].map((at) => pixel(alone, at)[0])).toEqual([0, 0, 128, 255]);
  });

  it("outlines the hot region on its own side of the border, not along the picture's edge", () => {
    const drawn = blended(grey(1, 4, 0), heat(1, 4, 1, 1, 0, 0), ramp, { ...PLAIN, opacity: 0, contour: true });
    expect([0, 1, 2, 3].map((at) => pixel(drawn, at)[0])).toEqual([0, 255, 0, 0]);
  });

  it("does not write on the picture it was given", () => {
    const picture = grey(1, 1, 40);
    blended(picture, heat(1, 1, 1), ramp, { ...PLAIN, opacity: 1, contour: true });
    expect(pixel(picture, 0)).toEqual([40, 40, 40]);
  });
});

describe("what the model does not see", () => {
  const seen = marked({ ...grey(1, 8, 100), region: [0.25, 0, 0.75, 1] });

  it("is grey and faded, with a line around what it sees, whose pixels stay as they are", () => {
    expect([0, 1, 2, 5, 6, 7].map((at) => pixel(seen, at)[0])).toEqual([131, 255, 100, 100, 255, 131]);
    const red = grey(1, 4, 0);
    for (let at = 0; at < 4; at++) red.pixels.set([200, 100, 0], at * 4);
    expect(pixel(marked({ ...red, region: [0.5, 0, 1, 1] }), 0)).toEqual([138, 138, 138]);
    expect(pixel(marked({ ...red, region: [0.5, 0, 1, 1] }), 2)).toEqual([200, 100, 0]);
  });

  it("is nothing in a picture that is seen whole", () => {
    const picture = grey(1, 2, 7);
    expect(marked(picture)).toBe(picture);
  });

  it("has no heat and no contour along it", () => {
    const drawn = blended(seen, heat(1, 8, NaN, NaN, 1, 1, 1, 1, NaN, NaN), ramp, { ...PLAIN, opacity: 0, contour: true });
    expect([...drawn.pixels]).toEqual([...seen.pixels]);
    expect(colored(heat(1, 2, NaN, 1), ramp).pixels[3]).toBe(0);
  });
});
