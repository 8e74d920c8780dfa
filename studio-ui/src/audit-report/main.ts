// The script of an audit's report: filters and the gallery of images with their maps. It needs no server.
import { COLOUR_MAPS, DEFAULT_COLOURS } from "../core/colours";
import { cardOf, named } from "./card";
import { element } from "./element";
import { choiceOf, chosen, EVERYTHING, gridOf, hashOf, type Choice, type Evidence, type Section } from "./evidence";
import { walkable } from "./matrix";
import { Painter } from "./painting";

const PAIRS = 6;
const FEW = 4;
const REASONS: Record<string, string> = {
  unsure: "Low confidence",
  usual_confusion: "Frequent confusion",
  far_from_class: "Far from its class",
  label_in_doubt: "Label in doubt",
  looks_elsewhere: "Evidence in the corners",
  nothing_unusual: "Nothing unusual",
};

const evidence = JSON.parse(document.getElementById("evidence")!.textContent) as Evidence;
const painter = new Painter(DEFAULT_COLOURS);
const gallery = document.getElementById("cards")!;
const status = document.getElementById("status")!;
let choice: Choice = choiceOf(location.hash, evidence.classes);
let pairs = PAIRS;
const whole = new Set<string>();

function selectOf(title: string, options: readonly (readonly [string, string])[], change: (value: string) => void): HTMLSelectElement {
  const select = element("select", { "aria-label": title });
  for (const [value, words] of options) select.append(element("option", { value }, words));
  select.addEventListener("change", () => change(select.value));
  return select;
}

function labelled(title: string, control: HTMLElement, output?: HTMLElement): HTMLElement {
  return element("label", {}, element("span", {}, title, ...(output ? [" ", output] : [])), control);
}

function headingOf({ label, predicted, count }: Section, shown: number): HTMLElement {
  const words = `${named(evidence, label)} predicted as ${named(evidence, predicted)}`;
  const many = count.toLocaleString("en");
  const said = shown < count ? `the ${shown} most confident of ${many}` : `${many} ${count === 1 ? "image" : "images, most confident first"}`;
  return element("h3", {}, words, element("small", {}, said));
}

function draw(): void {
  const sections = chosen(evidence, choice);
  const total = sections.reduce((sum, { cards }) => sum + cards.length, 0);
  painter.forget(gallery);
  gallery.replaceChildren(...sections.slice(0, pairs).map((section) => sectionOf(section, sections.length === 1)));
  status.textContent = total ? `${total} images of ${sections.length} ${sections.length === 1 ? "confusion" : "confusions"} in this file` : "";
  if (!total) gallery.append(nothing());
  if (pairs < sections.length) {
    gallery.append(
      moreButton(`Show ${Math.min(PAIRS, sections.length - pairs)} more confusions`, () => {
        const last = gallery.querySelectorAll(".card").length;
        pairs += PAIRS;
        draw();
        gallery.querySelectorAll<HTMLElement>(".card")[last]?.focus();
      }),
    );
  }
  for (const cell of document.querySelectorAll<HTMLElement>("#matrix button")) {
    const chosenCell = Number(cell.dataset["label"]) === choice.label && Number(cell.dataset["predicted"]) === choice.predicted;
    cell.setAttribute("aria-pressed", String(chosenCell));
  }
}

/** A confusion with its first images, or with all of them if it is the only one or was expanded. */
function sectionOf(section: Section, alone: boolean): HTMLElement {
  const key = `${section.label} ${section.predicted}`;
  const some = alone || whole.has(key) ? section.cards : section.cards.slice(0, FEW);
  const list = element("div", { class: "cards" }, ...some.map((card) => cardOf(evidence, card, painter)));
  const node = element("section", section.cards.length === 1 && !alone ? { class: "single" } : {}, headingOf(section, some.length), list);
  if (some.length < section.cards.length) {
    const rest = moreButton(`Show ${section.cards.length - some.length} more of this confusion`, () => {
      whole.add(key);
      const all = sectionOf(section, alone);
      painter.forget(node);
      node.replaceWith(all);
      all.querySelectorAll<HTMLElement>(".card")[some.length]?.focus();
    });
    node.append(rest);
  }
  return node;
}

function moreButton(words: string, more: () => void): HTMLElement {
  const button = element("button", { type: "button", class: "more" }, words);
  button.addEventListener("click", more);
  return button;
}

function nothing(): HTMLElement {
  const pair = evidence.pairs.find(([label, predicted]) => label === choice.label && predicted === choice.predicted);
  const words = pair
    ? `The run has ${pair[2].toLocaleString("en")} such images, but none in this file matches the filters. The studio shows all of them.`
    : "No image in this file matches.";
  return element("p", { class: "nothing" }, words);
}

const classes = evidence.classes.map((name, index) => [String(index), name] as const);
const truth = selectOf("True class", [["", "all classes"], ...classes], (value) => choose({ label: value === "" ? null : Number(value) }));
const answer = selectOf("Predicted class", [["", "all classes"], ...classes], (value) =>
  choose({ predicted: value === "" ? null : Number(value) }),
);
const kinds = Object.entries(REASONS).filter(([kind]) => evidence.cards.some((card) => card.reasons.some(([found]) => found === kind)));
const reason = selectOf("Likely reason", [["", "all reasons"], ...kinds], (value) => choose({ reason: value }));
const least = element("input", { type: "range", min: "0", max: "1", step: "0.01", "aria-label": "Minimum confidence" });
const leastSaid = element("output");
least.addEventListener("input", () => choose({ confidence: Number(least.value) }));

function choose(part: Partial<Choice>): void {
  choice = { ...choice, ...part };
  pairs = PAIRS;
  follow();
  draw();
  try {
    history.replaceState(null, "", hashOf(choice, evidence.classes) || location.pathname + location.search);
  } catch {
    // a sandboxed frame has no address of its own
  }
}

function follow(): void {
  truth.value = choice.label === null ? "" : String(choice.label);
  answer.value = choice.predicted === null ? "" : String(choice.predicted);
  reason.value = choice.reason;
  least.value = String(choice.confidence);
  leastSaid.textContent = choice.confidence.toFixed(2);
}

function filters(): void {
  const reset = element("button", { type: "button" }, "Show all errors");
  reset.addEventListener("click", () => choose(EVERYTHING));
  document
    .getElementById("filters")!
    .append(
      labelled("True class", truth),
      labelled("Predicted class", answer),
      labelled("Likely reason", reason),
      labelled("Minimum confidence", least, leastSaid),
      reset,
    );
}

function look(): void {
  const opacity = element("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0.5", "aria-label": "Opacity" });
  const said = element("output", {}, "0.50");
  opacity.addEventListener("input", () => {
    said.textContent = Number(opacity.value).toFixed(2);
    document.documentElement.style.setProperty("--opacity", opacity.value);
  });
  const colours = selectOf("Colors", COLOUR_MAPS.map((name) => [name, name] as const), (name) => painter.recolour(name));
  colours.value = DEFAULT_COLOURS;
  const theme = element("button", { type: "button" }, "Theme");
  theme.addEventListener("click", () => {
    const dark = document.documentElement.dataset["theme"] ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = dark === "dark" ? "light" : "dark";
  });
  document.getElementById("look")!.append(labelled("Opacity", opacity, said), labelled("Colors", colours), theme);
}

function open(label: number, predicted: number): void {
  choose({ ...EVERYTHING, label, predicted });
  const heading = document.getElementById("gallery")!;
  heading.scrollIntoView({ block: "start" });
  heading.focus({ preventScroll: true });
}

for (const canvas of document.querySelectorAll<HTMLCanvasElement>("canvas[data-mean]")) {
  painter.add(canvas, gridOf(evidence.means[canvas.dataset["mean"]!]!, evidence.grid));
}
const table = document.querySelector<HTMLTableElement>("#matrix");
if (table) walkable(table, open);
for (const link of document.querySelectorAll<HTMLElement>("button[data-pair]")) {
  link.addEventListener("click", () => open(Number(link.dataset["label"]), Number(link.dataset["predicted"])));
}
filters();
look();
follow();
draw();
document.documentElement.dataset["ready"] = "";
