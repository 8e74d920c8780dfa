// The reading point that all figures of a page share: 0 to 1 along both axes of the model's input.
export const pointer = $state({ shown: false, x: 0.5, y: 0.5 });

export function point(x: number, y: number): void {
  pointer.x = Math.min(1, Math.max(0, x));
  pointer.y = Math.min(1, Math.max(0, y));
  pointer.shown = true;
}
