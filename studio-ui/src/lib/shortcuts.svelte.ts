// Single-key shortcuts, ignored while the user types. Pages add their own while they are shown.
import { taste } from "./theme.svelte";

type Keys = Record<string, () => void>;
const active: Keys[] = [];

/** Handle these keys until the calling component is destroyed. */
export function useKeys(keys: Keys): void {
  $effect(() => {
    active.push(keys);
    return () => {
      active.splice(active.indexOf(keys), 1);
    };
  });
}

export function onKey(event: KeyboardEvent): void {
  if (!taste.shortcuts || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as HTMLElement;
  const typing = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing) return;
  const action = active.findLast((keys) => event.key in keys)?.[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
