// Draws maps on canvases, and redraws them when the colors change.
import { colorTable } from "../core/colors";
import { heatmap, type Grid } from "../core/grid";
import { colored } from "../core/overlay";
import { paint } from "../core/paint";

const FINE = 112; // pixels along the longer side

export class Painter {
  readonly #grids = new Map<HTMLCanvasElement, Grid>();
  #colors: string;

  constructor(colors: string) {
    this.#colors = colors;
  }

  add(canvas: HTMLCanvasElement, grid: Grid): void {
    this.#grids.set(canvas, grid);
    this.#paint(canvas, grid);
  }

  /** Forget the canvases of an element before it is removed. */
  release(inside: Element): void {
    for (const canvas of inside.querySelectorAll("canvas")) this.#grids.delete(canvas);
  }

  recolor(colors: string): void {
    this.#colors = colors;
    this.#grids.forEach((grid, canvas) => this.#paint(canvas, grid));
  }

  #paint(canvas: HTMLCanvasElement, grid: Grid): void {
    const scale = FINE / Math.max(grid.height, grid.width);
    const frame = { height: Math.round(grid.height * scale), width: Math.round(grid.width * scale) };
    paint(canvas, colored(heatmap(grid, frame), colorTable(this.#colors)));
    canvas.dataset["painted"] = this.#colors;
  }
}
