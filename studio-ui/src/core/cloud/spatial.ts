// Finding points by place: a uniform grid over the cloud, so that hovering over 20,000 points looks at a handful.

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

/** The smallest box around all finite points; a unit box around the origin where there are none. */
export function boundsOf({ x, y }: Points): Bounds {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < x.length; i++) {
    const across = x[i]!;
    const down = y[i]!;
    if (!Number.isFinite(across) || !Number.isFinite(down)) continue;
    if (across < left) left = across;
    if (across > right) right = across;
    if (down < top) top = down;
    if (down > bottom) bottom = down;
  }
  return left <= right ? { left, top, right, bottom } : { left: -1, top: -1, right: 1, bottom: 1 };
}

const PER_CELL = 4;

/** Points sorted into the cells of a grid, about four to a cell. */
export class SpatialIndex {
  readonly bounds: Bounds;
  readonly #columns: number;
  readonly #rows: number;
  readonly #size: number;
  readonly #starts: Uint32Array;
  readonly #members: Uint32Array;

  constructor(readonly points: Points) {
    this.bounds = boundsOf(points);
    const width = Math.max(this.bounds.right - this.bounds.left, 1e-9);
    const height = Math.max(this.bounds.bottom - this.bounds.top, 1e-9);
    const cells = Math.max(1, points.x.length / PER_CELL);
    this.#size = Math.max(Math.sqrt((width * height) / cells), Math.max(width, height) / 4096);
    this.#columns = Math.floor(width / this.#size) + 1;
    this.#rows = Math.floor(height / this.#size) + 1;
    const cellOf = new Int32Array(points.x.length);
    this.#starts = new Uint32Array(this.#columns * this.#rows + 1);
    for (let i = 0; i < cellOf.length; i++) {
      const cell = this.#cell(points.x[i]!, points.y[i]!);
      cellOf[i] = cell;
      if (cell >= 0) this.#starts[cell + 1]!++;
    }
    for (let cell = 0; cell < this.#columns * this.#rows; cell++) this.#starts[cell + 1]! += this.#starts[cell]!;
    const next = this.#starts.slice();
    this.#members = new Uint32Array(this.#starts.at(-1)!);
    for (let i = 0; i < cellOf.length; i++) {
      const cell = cellOf[i]!;
      if (cell >= 0) this.#members[next[cell]!++] = i;
    }
  }

  /** The nearest point that is at most `reach` away, or -1. */
  nearest(x: number, y: number, reach: number): number {
    let best = -1;
    let least = reach * reach;
    this.#visit({ left: x - reach, top: y - reach, right: x + reach, bottom: y + reach }, (i) => {
      const across = this.points.x[i]! - x;
      const down = this.points.y[i]! - y;
      const distance = across * across + down * down;
      if (distance < least || (distance === least && best < 0)) {
        least = distance;
        best = i;
      }
    });
    return best;
  }

  /** Every point inside the box, edges included. */
  within(box: Bounds): number[] {
    const found: number[] = [];
    this.#visit(box, (i) => {
      const x = this.points.x[i]!;
      const y = this.points.y[i]!;
      if (x >= box.left && x <= box.right && y >= box.top && y <= box.bottom) found.push(i);
    });
    return found;
  }

  #cell(x: number, y: number): number {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return -1;
    return this.#row(y) * this.#columns + this.#column(x);
  }
  #column(x: number): number {
    return Math.min(this.#columns - 1, Math.max(0, Math.floor((x - this.bounds.left) / this.#size)));
  }
  #row(y: number): number {
    return Math.min(this.#rows - 1, Math.max(0, Math.floor((y - this.bounds.top) / this.#size)));
  }
  #visit(box: Bounds, look: (index: number) => void): void {
    const [first, last] = [this.#column(box.left), this.#column(box.right)];
    for (let row = this.#row(box.top); row <= this.#row(box.bottom); row++) {
      const end = this.#starts[row * this.#columns + last + 1]!;
      for (let at = this.#starts[row * this.#columns + first]!; at < end; at++) look(this.#members[at]!);
    }
  }
}
