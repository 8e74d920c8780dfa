import { describe, expect, it } from "vitest";
import { fitting, moved, projected, toPixel, toPlace, zoomed } from "../src/core/cloud/camera";
import { classColors, oklch, shareRows } from "../src/core/cloud/hues";
import { enclosed, inside, readOutline, rectangle, simplified, widened, writeOutline, type Outline } from "../src/core/cloud/lasso";
import { boundsOf, nearest, type Points } from "../src/core/cloud/spatial";
import { stamped, wiped } from "../src/core/cloud/stamps";

/** Numbers in [0, 1) that are the same on every run. */
function chance(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1664525 + 1013904223) % 2 ** 32) / 2 ** 32;
}
function cloud(count: number, seed = 1): Points {
  const next = chance(seed);
  const lump = (): number => next() + next() + next() - 1.5;
  return { x: Float32Array.from({ length: count }, () => lump() * 40), y: Float32Array.from({ length: count }, lump) };
}
const STAR: Outline = [[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]];

describe("the nearest point", () => {
  const points = cloud(3000);

  it.each([0.01, 0.3, 5, 200])("is found if it is at most %d away", (reach) => {
    const next = chance(7);
    for (let trial = 0; trial < 200; trial++) {
      const [x, y] = [(next() - 0.5) * 150, (next() - 0.5) * 4];
      const distances = Array.from(points.x, (value, i) => Math.hypot(value - x, points.y[i]! - y));
      const least = Math.min(...distances);
      const point = nearest(points, x, y, reach);
      if (least > reach) expect(point).toBe(-1);
      else expect(distances[point]).toBeCloseTo(least, 5);
    }
  });

  it("handles no points, one point, equal points and NaN", () => {
    expect(nearest({ x: new Float32Array(), y: new Float32Array() }, 0, 0, 9)).toBe(-1);
    expect(nearest({ x: Float32Array.of(3), y: Float32Array.of(4) }, 0, 0, 5)).toBe(0);
    const same = { x: new Float32Array(50).fill(2), y: new Float32Array(50).fill(2) };
    expect(enclosed(same, rectangle([1, 1], [3, 3]))).toHaveLength(50);
    const holes = { x: Float32Array.of(NaN, 1), y: Float32Array.of(0, 1) };
    expect(nearest(holes, 0, 0, 9)).toBe(1);
    expect(boundsOf(holes)).toEqual({ left: 1, top: 1, right: 1, bottom: 1 });
  });
});

describe("the lasso", () => {
  it("knows inside from outside, in the notch of a star too", () => {
    expect(inside(STAR, 2, 0.5)).toBe(true);
    expect(inside(STAR, 2, 2)).toBe(false);
    expect(inside(STAR, 1, 3)).toBe(false);
    expect(inside(STAR, 0.2, 3)).toBe(true);
    expect(inside(STAR, 5, 1)).toBe(false);
  });

  it("selects what lies inside, and nothing with a line that has no area", () => {
    const points = { x: Float32Array.of(2, 2, 0.2, 9), y: Float32Array.of(0.5, 2, 3, 9) };
    expect([...enclosed(points, STAR)]).toEqual([0, 2]);
    expect([...enclosed(points, [[0, 0], [9, 9]])]).toEqual([]);
    expect([...enclosed(points, rectangle([9.5, 9.5], [1, 1]))]).toEqual([1, 3]);
  });

  it("keeps its shape with fewer corners", () => {
    const circle: Outline = Array.from({ length: 400 }, (_, i) => [Math.cos(i / 63.66), Math.sin(i / 63.66)]);
    const fewer = simplified(circle, 0.01);
    expect(fewer.length).toBeLessThan(40);
    const next = chance(3);
    for (let trial = 0; trial < 300; trial++) {
      const [x, y] = [next() * 2.4 - 1.2, next() * 2.4 - 1.2];
      if (Math.abs(Math.hypot(x, y) - 1) > 0.03) expect(inside(fewer, x, y)).toBe(Math.hypot(x, y) < 1);
    }
  });

  it("comes back from an address", () => {
    const box = { left: -20, top: -3, right: 60, bottom: 9 };
    const outline: Outline = [[-20, -3], [60, 9], [12.5, 0.25]];
    const back = readOutline(writeOutline(outline, box), box)!;
    back.forEach(([x, y], corner) => {
      expect(Math.abs(x - outline[corner]![0])).toBeLessThan(80 / 1295);
      expect(Math.abs(y - outline[corner]![1])).toBeLessThan(12 / 1295);
    });
    expect(readOutline("", box)).toBeNull();
    expect(readOutline("00zz!!zz0000", box)).toBeNull();
    expect(readOutline("00000000", box)).toBeNull();
  });
});

describe("a lasso around everything", () => {
  it("still holds the outermost points when it comes back from an address", () => {
    const points = cloud(500);
    const frame = widened(boundsOf(points));
    const around = rectangle([-1e3, -1e3], [1e3, 1e3]);
    expect(enclosed(points, readOutline(writeOutline(around, frame), frame)!)).toHaveLength(500);
  });
});

describe("the camera", () => {
  const box = { left: -2, top: 10, right: 6, bottom: 14 };

  it("shows the whole box, its middle in the middle", () => {
    const camera = fitting(box, 800, 600);
    expect(toPixel(camera, [2, 12])).toEqual([400, 300]);
    const [left] = toPixel(camera, [box.left, 12]);
    expect(left).toBeCloseTo(40);
  });

  it("keeps the place under the pointer when it comes nearer", () => {
    const camera = fitting(box, 800, 600);
    const place = toPlace(camera, [123, 456]);
    const nearer = zoomed(camera, 3, [123, 456]);
    expect(toPixel(nearer, place)[0]).toBeCloseTo(123);
    expect(toPixel(nearer, place)[1]).toBeCloseTo(456);
    expect(nearer.scale).toBe(camera.scale * 3);
    expect(toPixel(moved(camera, 5, -7), place)[0]).toBeCloseTo(128);
  });

  it("projects every point as it does one", () => {
    const camera = fitting(box, 300, 300);
    const { x, y } = projected(camera, { x: Float32Array.of(1, 2), y: Float32Array.of(11, 13) });
    expect([x[1], y[1]]).toEqual(toPixel(camera, [2, 13]).map((value) => Math.fround(value)));
  });
});

describe("stamping dots", () => {
  const table = Uint8Array.of(200, 0, 0, 0, 100, 0);
  function drawing(x: number[], y: number[], order: number[], radius = 2, opacity = 1) {
    const canvas = { width: 12, height: 10, pixels: new Uint8ClampedArray(12 * 10 * 4) };
    wiped(canvas, [10, 20, 30]);
    const at = { x: Float32Array.from(x), y: Float32Array.from(y) };
    const colors = Uint16Array.from(x, (_, i) => i % 2);
    const drawn = stamped(canvas, { at, order: Uint32Array.from(order), colors, table, radius, opacity });
    const pixel = (row: number, column: number): number[] => [...canvas.pixels.subarray((row * 12 + column) * 4, (row * 12 + column) * 4 + 4)];
    return { drawn, pixel, canvas };
  }

  it("colors the middle fully, the corner not at all, and the area of a circle", () => {
    const { pixel, canvas } = drawing([5.5], [4.5], [0]);
    expect(pixel(4, 5)).toEqual([200, 0, 0, 255]);
    expect(pixel(0, 0)).toEqual([10, 20, 30, 255]);
    let area = 0;
    for (let i = 0; i < canvas.pixels.length; i += 4) area += (canvas.pixels[i]! - 10) / 190;
    expect(area).toBeGreaterThan(11.5);
    expect(area).toBeLessThan(13.7); // pi * 2 * 2 = 12.6
  });

  it("puts the last one on top, and leaves out what was not asked for", () => {
    expect(drawing([5.5, 5.5], [4.5, 4.5], [0, 1]).pixel(4, 5)).toEqual([0, 100, 0, 255]);
    expect(drawing([5.5, 5.5], [4.5, 4.5], [1, 0]).pixel(4, 5)).toEqual([200, 0, 0, 255]);
    expect(drawing([5.5, 9], [4.5, 4], [1]).pixel(4, 5)).toEqual([10, 20, 30, 255]);
  });

  it("lets the ground shine through", () => {
    expect(drawing([5.5], [4.5], [0], 2, 0.5).pixel(4, 5)).toEqual([105, 10, 15, 255]);
  });

  it("cuts dots at the edge and skips those outside or undefined", () => {
    const { drawn, pixel } = drawing([0.5, -9, 99, NaN], [0.5, 3, 3, 3], [0, 1, 2, 3]);
    expect(drawn).toBe(1);
    expect(pixel(0, 0)).toEqual([200, 0, 0, 255]);
  });

  it("draws 20,000 dots within a frame", () => {
    const canvas = { width: 900, height: 640, pixels: new Uint8ClampedArray(900 * 640 * 4) };
    const points = cloud(20_000);
    const at = projected(fitting(boundsOf(points), 900, 640), points);
    const order = Uint32Array.from(points.x.keys());
    const dots = { at, order, colors: new Uint16Array(20_000), table, radius: 2.5, opacity: 0.8 };
    const times = Array.from({ length: 15 }, () => {
      const start = performance.now();
      wiped(canvas, [0, 0, 0]);
      expect(stamped(canvas, dots)).toBe(20_000);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(16);
  });
});

describe("colors of points", () => {
  it("turns white, black and a known red into bytes", () => {
    expect(oklch(1, 0, 0)).toEqual([255, 255, 255]);
    expect(oklch(0, 0, 0)).toEqual([0, 0, 0]);
    const [red, green, blue] = oklch(0.628, 0.2577, 29.23);
    expect(red).toBeGreaterThan(250);
    expect(green + blue).toBeLessThan(12);
  });

  it.each([10, 12])("gives each of %i classes a color unlike all others", (count) => {
    const table = classColors(count, false);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < i; j++) {
        const apart = [0, 1, 2].reduce((sum, channel) => sum + Math.abs(table[i * 3 + channel]! - table[j * 3 + channel]!), 0);
        expect(apart).toBeGreaterThan(40);
      }
    }
  });

  it("gives neighbours in number colors that are far apart", () => {
    const table = classColors(40, false);
    for (let i = 0; i + 1 < 40; i++) {
      const apart = [0, 1, 2].reduce((sum, channel) => sum + Math.abs(table[i * 3 + channel]! - table[i * 3 + 3 + channel]!), 0);
      expect(apart).toBeGreaterThan(90);
    }
  });

  it("maps shares to rows", () => {
    expect([...shareRows(Float32Array.of(0, 0.5, 1, NaN))]).toEqual([0, 128, 255, 0]);
  });
});
