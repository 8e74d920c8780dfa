// Lasso outlines: the points inside, and the text form for the address bar.
import type { Bounds, Points } from "./spatial";

export type Place = readonly [x: number, y: number];
export type Outline = readonly Place[];

/** Whether a place lies inside the outline (even-odd rule). */
export function inside(outline: Outline, x: number, y: number): boolean {
  let within = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [ax, ay] = outline[i]!;
    const [bx, by] = outline[j]!;
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
}

export function rectangle([ax, ay]: Place, [bx, by]: Place): Outline {
  return [
    [ax, ay],
    [bx, ay],
    [bx, by],
    [ax, by],
  ];
}

/** The points inside the outline, in ascending order. */
export function enclosed({ x, y }: Points, outline: Outline): Uint32Array {
  return Uint32Array.from(x.keys()).filter((i) => inside(outline, x[i]!, y[i]!));
}

/** Drop corners that deviate by less than `tolerance` (Ramer-Douglas-Peucker). */
export function simplified(outline: Outline, tolerance: number): Outline {
  if (outline.length < 4) return outline;
  const keep = new Uint8Array(outline.length);
  keep[0] = keep[outline.length - 1] = 1;
  const spans: [number, number][] = [[0, outline.length - 1]];
  while (spans.length) {
    const [from, to] = spans.pop()!;
    let furthest = -1;
    let most = tolerance;
    for (let i = from + 1; i < to; i++) {
      const away = distance(outline[i]!, outline[from]!, outline[to]!);
      if (away > most) [furthest, most] = [i, away];
    }
    if (furthest < 0) continue;
    keep[furthest] = 1;
    spans.push([from, furthest], [furthest, to]);
  }
  return outline.filter((_, i) => keep[i]);
}

/** The distance of a place from the line segment between two others. */
function distance([x, y]: Place, [ax, ay]: Place, [bx, by]: Place): number {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const share = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

/** The box with a margin, so that an outline around all points can be written without clipping. */
export function widened(box: Bounds, share = 0.1): Bounds {
  const across = Math.max(box.right - box.left, 1e-6) * share;
  const down = Math.max(box.bottom - box.top, 1e-6) * share;
  return { left: box.left - across, top: box.top - down, right: box.right + across, bottom: box.bottom + down };
}

const STEPS = 36 ** 2 - 1;
const MOST_CORNERS = 120;

/** The outline as text: per corner, x and y relative to the box in two base-36 digits each. */
export function writeOutline(outline: Outline, box: Bounds): string {
  const digits = (value: number, low: number, high: number): string => {
    const share = Math.min(1, Math.max(0, (value - low) / Math.max(high - low, 1e-9)));
    return Math.round(share * STEPS).toString(36).padStart(2, "0");
  };
  return outline
    .slice(0, MOST_CORNERS)
    .map(([x, y]) => digits(x, box.left, box.right) + digits(y, box.top, box.bottom))
    .join("");
}

/** Parse the text of an outline; null if it is invalid. */
export function readOutline(text: string, box: Bounds): Outline | null {
  if (!/^(?:[0-9a-z]{4}){3,120}$/.test(text)) return null;
  const at = (place: number, low: number, high: number): number =>
    low + (parseInt(text.slice(place, place + 2), 36) / STEPS) * (high - low);
  return Array.from({ length: text.length / 4 }, (_, corner) => [
    at(corner * 4, box.left, box.right),
    at(corner * 4 + 2, box.top, box.bottom),
  ]);
}
