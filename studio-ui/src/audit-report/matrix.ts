// The confusion matrix by mouse and keyboard: one stop for Tab, arrows between cells, Enter opens.
export function walkable(table: HTMLTableElement, open: (label: number, predicted: number) => void): void {
  const rows = [...table.tBodies[0]!.rows].map((row) => [...row.querySelectorAll("button")]);
  const steps: Record<string, readonly [number, number]> = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
  };
  rows.forEach((cells, y) =>
    cells.forEach((cell, x) => {
      cell.tabIndex = y === 0 && x === 0 ? 0 : -1;
      cell.addEventListener("click", () => open(Number(cell.dataset["label"]), Number(cell.dataset["predicted"])));
      cell.addEventListener("keydown", (event) => {
        const step = steps[event.key];
        const next = step && rows[y + step[0]]?.[x + step[1]];
        if (!next) return;
        event.preventDefault();
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      });
    }),
  );
}
