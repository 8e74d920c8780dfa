// Keyboard navigation of the confusion matrix: a single tab stop, arrow keys between cells, Enter to open.
import { ARROWS } from "../core/grid";

export function navigable(table: HTMLTableElement, open: (label: number, predicted: number) => void): void {
  const rows = [...table.tBodies[0]!.rows].map((row) => [...row.querySelectorAll("button")]);
  rows.forEach((cells, y) =>
    cells.forEach((cell, x) => {
      cell.tabIndex = y === 0 && x === 0 ? 0 : -1;
      cell.addEventListener("click", () => open(Number(cell.dataset["label"]), Number(cell.dataset["predicted"])));
      cell.addEventListener("keydown", (event) => {
        const step = ARROWS[event.key];
        const next = step && rows[y + step[1]]?.[x + step[0]];
        if (!next) return;
        event.preventDefault();
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      });
    }),
  );
}
