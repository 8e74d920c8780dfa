// The color theme, that of the system until the user picks one, and whether single-key shortcuts are on.
type Theme = "light" | "dark";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Read a stored setting, or write it. Without access to the storage, settings last until the page is closed. */
function stored(name: string, value?: string): string | null {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

const chosen = stored("camlens-theme");
export const taste = $state({
  theme: (chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light") as Theme,
  shortcuts: stored("camlens-shortcuts") !== "off",
});

function apply(): void {
  document.documentElement.dataset.theme = taste.theme;
}
apply();
dark.addEventListener("change", () => {
  if (stored("camlens-theme") !== null) return;
  taste.theme = dark.matches ? "dark" : "light";
  apply();
});

export function switchTheme(): void {
  taste.theme = taste.theme === "dark" ? "light" : "dark";
  stored("camlens-theme", taste.theme);
  apply();
}

export function switchShortcuts(on: boolean): void {
  taste.shortcuts = on;
  stored("camlens-shortcuts", on ? "on" : "off");
}
