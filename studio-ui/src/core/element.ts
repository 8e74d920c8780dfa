// DOM elements for the pages without a framework.

/** Create an element with attributes and children. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.append(...children);
  return created;
}

/** A slider from 0 to 1 in a label that shows its value. */
export function slider(title: string, value: number, onchange: (value: number) => void): { label: HTMLElement; set: (value: number) => void } {
  const output = element("output");
  const id = title.toLowerCase().replaceAll(" ", "-");
  const input = element("input", { id, type: "range", min: "0", max: "1", step: "0.01" });
  const set = (next: number): void => {
    input.value = String(next);
    output.textContent = next.toFixed(2);
  };
  set(value);
  input.addEventListener("input", () => {
    set(Number(input.value));
    onchange(Number(input.value));
  });
  // without `for`, the label would belong to the output
  return { label: element("label", { for: id }, element("span", {}, title, " ", output), input), set };
}

/** A list of options in a label. */
export function chooser(
  title: string,
  options: readonly (readonly [value: string, text: string])[],
  onchange: (value: string) => void,
): { label: HTMLElement; set: (value: string) => void } {
  const select = element("select", { "aria-label": title }, ...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return { label: element("label", {}, element("span", {}, title), select), set: (value) => (select.value = value) };
}
