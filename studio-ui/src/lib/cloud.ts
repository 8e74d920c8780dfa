// The embedding layout of the API, decoded: points, and the columns that color them.
import type { Schemas } from "../api/client";
import { decodeBytes } from "../core/grid";
import { boundsOf, type Bounds, type Points } from "../core/cloud/spatial";

export interface Cloud {
  readonly view: Schemas["CloudView"];
  readonly points: Points;
  readonly bounds: Bounds;
  readonly rows: Int32Array;
  readonly labels: Int32Array;
  readonly predictions: Int32Array;
  readonly confidences: Float32Array;
}

export function decodeCloud(view: Schemas["CloudView"]): Cloud {
  const whole = (text: string): Int32Array => new Int32Array(decodeBytes(text).buffer);
  const real = (text: string): Float32Array => new Float32Array(decodeBytes(text).buffer);
  const pairs = real(view.points);
  const x = pairs.filter((_, place) => place % 2 === 0);
  const y = pairs.filter((_, place) => place % 2 === 1).map((value) => -value); // the y axis of the layout points up
  const points = { x, y };
  return {
    view,
    points,
    bounds: boundsOf(points),
    rows: whole(view.rows),
    labels: whole(view.labels),
    predictions: whole(view.predictions),
    confidences: real(view.confidences),
  };
}

/** 1 if the prediction of a point is correct, 0 if it is incorrect, 2 if the point has no label. */
export const verdictOf = (cloud: Cloud, point: number): 0 | 1 | 2 =>
  cloud.labels[point]! < 0 ? 2 : cloud.labels[point] === cloud.predictions[point] ? 1 : 0;

/** Points sorted for viewing: incorrect ones first, then by descending confidence. */
export function byInterest(cloud: Cloud, chosen: Uint32Array): Uint32Array {
  const rank = (point: number): number => (verdictOf(cloud, point) === 0 ? 2 : 0) + (cloud.confidences[point] || 0);
  return chosen.slice().sort((a, b) => rank(b) - rank(a) || a - b);
}
