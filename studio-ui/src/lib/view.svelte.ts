// The one view that all pages share, kept in step with the address bar.
import { fromQuery, toQuery, type View } from "./address";

const path = (): string => location.pathname.replace(/\/+$/, "") || "/";

export const view: View = $state(fromQuery(location.search));
const place = $state({ path: path() });

export const currentPath = (): string => place.path;

const wanted = (): string => {
  const query = toQuery(view);
  return query ? `${place.path}?${query}` : place.path;
};

/** The address of a page with the present view, some of it changed. */
export function addressOf(page: string, changes: Partial<View> = {}): string {
  const query = toQuery({ ...$state.snapshot(view), ...changes } as View);
  return query ? `${page}?${query}` : page;
}

export function go(page: string, changes: Partial<View> = {}): void {
  Object.assign(view, changes);
  place.path = page;
  history.pushState(null, "", wanted());
  window.scrollTo({ top: 0 });
}

/** Follow the view with the address, and the back button with the view. Call once, in the root component. */
export function followAddress(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  $effect(() => {
    const address = wanted();
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (address !== location.pathname + location.search) history.replaceState(null, "", address);
    }, 120);
  });
  const back = (): void => {
    Object.assign(view, fromQuery(location.search));
    place.path = path();
  };
  addEventListener("popstate", back);
}

/** Let plain clicks on links of our own pages stay in the page. */
export function stayInPage(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.("a[data-page]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!(link instanceof HTMLAnchorElement) || !plain || event.defaultPrevented) return;
  event.preventDefault();
  const address = new URL(link.href);
  go(address.pathname, fromQuery(address.search));
}
