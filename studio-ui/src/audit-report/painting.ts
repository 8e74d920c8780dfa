// Maps onto canvases, when they come into view, and again when the colours change.
import { colourTable } from "../core/colours";
import { heatmap, type Grid } from "../core/grid";
import { coloured } from "../core/overlay";
import { paint } from "../core/paint";

const FINE = 112;

export class Painter {
  readonly #grids = new Map<Element, Grid>();
  readonly #visible = new Set<Element>();
  readonly #watch = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "200px" });
  #colours: string;

  constructor(colours: string) {
    this.#colours = colours;
  }

  add(canvas: HTMLCanvasElement, grid: Grid): void {
    this.#grids.set(canvas, grid);
    this.#watch.observe(canvas);
  }

  /** Forget what is inside an element that goes away. */
  forget(inside: Element): void {
    for (const canvas of inside.querySelectorAll("canvas")) {
      this.#watch.unobserve(canvas);
      this.#grids.delete(canvas);
      this.#visible.delete(canvas);
    }
  }

  recolour(colours: string): void {
    this.#colours = colours;
    for (const canvas of this.#grids.keys()) delete (canvas as HTMLCanvasElement).dataset["painted"];
    for (const canvas of this.#visible) this.#paint(canvas as HTMLCanvasElement);
  }

  #seen(entries: IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.#visible.add(target);
        this.#paint(target as HTMLCanvasElement);
      } else this.#visible.delete(target);
    }
  }

  #paint(canvas: HTMLCanvasElement): void {
    if (canvas.dataset["painted"] === this.#colours) return;
    const grid = this.#grids.get(canvas)!;
    const scale = FINE / Math.max(grid.height, grid.width);
    const frame = { height: Math.round(grid.height * scale), width: Math.round(grid.width * scale) };
    paint(canvas, coloured(heatmap(grid, frame), colourTable(this.#colours)));
    canvas.dataset["painted"] = this.#colours;
  }
}
