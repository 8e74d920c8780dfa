// Points in the plane: their bounds, and the nearest one.

export interface Points {
  readonly x: Float32Array;
  readonly y: Float32Array;
}

export interface Bounds {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** The bounding box of all finite points, or a box around the origin if there are none. */
export function boundsOf({ x, y }: Points): Bounds {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(x[i]!) || !Number.isFinite(y[i]!)) continue;
    [left, right] = [Math.min(left, x[i]!), Math.max(right, x[i]!)];
    [top, bottom] = [Math.min(top, y[i]!), Math.max(bottom, y[i]!)];
  }
  return left <= right ? { left, top, right, bottom } : { left: -1, top: -1, right: 1, bottom: 1 };
}

/** The nearest point that is at most `reach` away, or -1. A scan is fast enough: 50,000 points take a fraction of a millisecond. */
export function nearest({ x, y }: Points, atX: number, atY: number, reach: number): number {
  let best = -1;
  let least = reach;
  for (let i = 0; i < x.length; i++) {
    const distance = Math.sqrt((x[i]! - atX) ** 2 + (y[i]! - atY) ** 2);
    if (distance < least || (distance === least && best < 0)) [best, least] = [i, distance];
  }
  return best;
}
