// The view that all pages share, synchronized with the address bar.
import { fromQuery, toQuery, type View } from "./address";

const path = (): string => location.pathname.replace(/\/+$/, "") || "/";

export const view: View = $state(fromQuery(location.search));
const place = $state({ path: path() });

export const currentPath = (): string => place.path;

/** The address of a page with the current view and some changes. */
export function addressOf(page: string, changes: Partial<View> = {}): string {
  const query = toQuery({ ...$state.snapshot(view), ...changes } as View);
  return query ? `${page}?${query}` : page;
}

export function go(page: string, changes: Partial<View> = {}): void {
  Object.assign(view, changes);
  place.path = page;
  history.pushState(null, "", addressOf(page));
  window.scrollTo({ top: 0 });
}

/** Update the address when the view changes, and the view on back and forward. Call once, in the root component. */
export function followAddress(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  $effect(() => {
    const address = addressOf(place.path);
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (address !== location.pathname + location.search) history.replaceState(null, "", address);
    }, 120);
  });
  addEventListener("popstate", () => {
    Object.assign(view, fromQuery(location.search));
    place.path = path();
  });
}

/** Handle plain clicks on links between pages without reloading. */
export function stayInPage(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.("a[data-page]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!(link instanceof HTMLAnchorElement) || !plain || event.defaultPrevented) return;
  event.preventDefault();
  const address = new URL(link.href);
  go(address.pathname, fromQuery(address.search));
}
