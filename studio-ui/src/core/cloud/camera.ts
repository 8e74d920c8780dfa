// Data coordinates to canvas pixels and back, with one scale for both axes.
import type { Place } from "./lasso";
import type { Bounds, Points } from "./spatial";

export interface Camera {
  /** Pixels per unit. */
  readonly scale: number;
  /** The pixel of the origin. */
  readonly x: number;
  readonly y: number;
}

const MARGIN = 0.05;

/** The camera that centers a box on the canvas and shows all of it. */
export function fitting(box: Bounds, width: number, height: number): Camera {
  const across = Math.max(box.right - box.left, 1e-9);
  const down = Math.max(box.bottom - box.top, 1e-9);
  const room = 1 - 2 * MARGIN;
  const scale = Math.min((width * room) / across, (height * room) / down);
  return {
    scale,
    x: width / 2 - ((box.left + box.right) / 2) * scale,
    y: height / 2 - ((box.top + box.bottom) / 2) * scale,
  };
}

/** Zoom by a factor around a pixel. */
export function zoomed(camera: Camera, factor: number, [atX, atY]: Place): Camera {
  return {
    scale: camera.scale * factor,
    x: atX - (atX - camera.x) * factor,
    y: atY - (atY - camera.y) * factor,
  };
}

export function moved(camera: Camera, right: number, down: number): Camera {
  return { ...camera, x: camera.x + right, y: camera.y + down };
}

export const toPixel = (camera: Camera, [x, y]: Place): Place => [x * camera.scale + camera.x, y * camera.scale + camera.y];
export const toPlace = (camera: Camera, [x, y]: Place): Place => [(x - camera.x) / camera.scale, (y - camera.y) / camera.scale];

/** All points in pixels. */
export function projected(camera: Camera, { x, y }: Points): Points {
  return {
    x: x.map((value) => value * camera.scale + camera.x),
    y: y.map((value) => value * camera.scale + camera.y),
  };
}
