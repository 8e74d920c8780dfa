// Single keys that do something, while nobody is typing. A page adds its own while it is shown.
import { taste } from "./theme.svelte";

type Keys = Record<string, () => void>;
const layers: Keys[] = [];

/** Make these keys do something as long as the calling component lives. */
export function useKeys(keys: Keys): void {
  $effect(() => {
    layers.push(keys);
    return () => {
      layers.splice(layers.indexOf(keys), 1);
    };
  });
}

export function onKey(event: KeyboardEvent): void {
  if (!taste.shortcuts || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as HTMLElement;
  const typing = target.matches?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing) return;
  const action = layers.findLast((keys) => event.key in keys)?.[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
