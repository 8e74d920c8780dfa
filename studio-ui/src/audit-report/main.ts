// The audit report: a confusion matrix whose cells lead to images and maps. Runs in one HTML file, without a server.
import { COLOR_MAPS, DEFAULT_COLORS } from "../core/colors";
import { cardOf, named, typicalOf } from "./card";
import { chooser, element, slider } from "../core/element";
import { choiceOf, chosen, EVERYTHING, gridOf, hashOf, typical, type Choice, type Evidence, type Section } from "./evidence";
import { navigable } from "./matrix";
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
const painter = new Painter(DEFAULT_COLORS);
const gallery = document.getElementById("cards")!;
const status = document.getElementById("status")!;
let choice: Choice = choiceOf(location.hash, evidence.classes);
let pairs = PAIRS;
const expanded = new Set<string>();

function headingOf({ label, predicted, count }: Section, shown: number): HTMLElement {
  const pair =
    label === predicted ? `${named(evidence, label)}, correct` : `${named(evidence, label)} predicted as ${named(evidence, predicted)}`;
  const total = count.toLocaleString("en");
  const kind = label === predicted ? "most typical" : "most confident";
  const note = shown < count ? `the ${shown} ${kind} of ${total}` : `${total} ${count === 1 ? "image" : "images, most confident first"}`;
  return element("h3", {}, pair, element("small", {}, note));
}

function draw(): void {
  const sections = chosen(evidence, choice);
  const total = sections.reduce((sum, { cards }) => sum + cards.length, 0);
  painter.release(gallery);
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
  const some = alone || expanded.has(key) ? section.cards : section.cards.slice(0, FEW);
  const list = element("div", { class: "cards" }, ...some.map((card) => cardOf(evidence, card, painter)));
  const created = element("section", section.cards.length === 1 && !alone ? { class: "single" } : {}, headingOf(section, some.length), list);
  if (some.length < section.cards.length) {
    const rest = moreButton(`Show ${section.cards.length - some.length} more of this confusion`, () => {
      expanded.add(key);
      const all = sectionOf(section, alone);
      painter.release(created);
      created.replaceWith(all);
      all.querySelectorAll<HTMLElement>(".card")[some.length]?.focus();
    });
    created.append(rest);
  }
  return created;
}

function moreButton(text: string, more: () => void): HTMLElement {
  const button = element("button", { type: "button", class: "more" }, text);
  button.addEventListener("click", more);
  return button;
}

function nothing(): HTMLElement {
  const pair = evidence.pairs.find(([label, predicted]) => label === choice.label && predicted === choice.predicted);
  const text = pair
    ? `The run has ${pair[2].toLocaleString("en")} such images, but none in this file matches the filters. The studio shows all of them.`
    : "No image in this file matches.";
  return element("p", { class: "nothing" }, text);
}

const classes = evidence.classes.map((name, index) => [String(index), name] as const);
const number = (value: string): number | null => (value === "" ? null : Number(value));
const truth = chooser("True class", [["", "All classes"], ...classes], (value) => choose({ label: number(value) }));
const answer = chooser("Predicted class", [["", "All classes"], ...classes], (value) => choose({ predicted: number(value) }));
const kinds = Object.entries(REASONS).filter(([kind]) => evidence.cards.some((card) => card.reasons.some(([reason]) => reason === kind)));
const reason = chooser("Likely reason", [["", "All reasons"], ...kinds], (value) => choose({ reason: value }));
const least = slider("Minimum confidence", 0, (confidence) => choose({ confidence }));

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
  truth.set(String(choice.label ?? ""));
  answer.set(String(choice.predicted ?? ""));
  reason.set(choice.reason);
  least.set(choice.confidence);
}

function filters(): void {
  const reset = element("button", { type: "button" }, "Show all errors");
  reset.addEventListener("click", () => choose(EVERYTHING));
  document.getElementById("filters")!.append(truth.label, answer.label, reason.label, least.label, reset);
}

function look(): void {
  const opacity = slider("Opacity", 0.5, (value) => document.documentElement.style.setProperty("--opacity", String(value)));
  const colors = chooser("Colors", COLOR_MAPS.map((name) => [name, name] as const), (name) => painter.recolor(name));
  colors.set(DEFAULT_COLORS);
  const theme = element("button", { type: "button" }, "Theme");
  theme.addEventListener("click", () => {
    const dark = document.documentElement.dataset["theme"] ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = dark === "dark" ? "light" : "dark";
  });
  document.getElementById("look")!.append(opacity.label, colors.label, theme);
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
document.getElementById("classes")!.append(...typical(evidence).map((section) => typicalOf(evidence, section, painter)));
const table = document.querySelector<HTMLTableElement>("#matrix");
if (table) navigable(table, open);
for (const link of document.querySelectorAll<HTMLElement>("button[data-pair]")) {
  link.addEventListener("click", () => open(Number(link.dataset["label"]), Number(link.dataset["predicted"])));
}
// paper is white: print in the light theme
let theme: string | undefined;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset["theme"];
  document.documentElement.dataset["theme"] = "light";
});
addEventListener("afterprint", () => {
  if (theme === undefined) delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
});
filters();
look();
follow();
draw();
document.documentElement.dataset["ready"] = "";
