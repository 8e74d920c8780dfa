// A card of the gallery: an image with its maps, most likely classes, likely reasons and nearest images.
import { WHOLE, type Region } from "../core/grid";
import { element } from "../core/element";
import { gridOf, type Card, type Evidence, type Section } from "./evidence";
import type { Painter } from "./painting";

const percent = (share: number): string => `${(100 * share).toFixed(share > 0.999 || share < 0.1 ? 1 : 0)} %`;

export function named(evidence: Evidence, index: number): string {
  return index < 0 ? "no label" : (evidence.classes[index] ?? `class ${index}`);
}

export function cardOf(evidence: Evidence, card: Card, painter: Painter): HTMLElement {
  const label = named(evidence, card.label);
  const predicted = named(evidence, card.predicted);
  const wrong = card.label >= 0 && card.label !== card.predicted;
  const pictures = element("div", { class: "views" }, figure(evidence, card, "Image", null, painter));
  pictures.append(figure(evidence, card, `Map for ${predicted}`, card.map, painter));
  if (wrong) pictures.append(figure(evidence, card, `Map for ${label}`, card.truth, painter));
  const head = element(
    "header",
    {},
    element("h4", {}, card.id),
    element("span", { class: wrong ? "chip bad" : "chip good" }, `${predicted} ${percent(card.confidence)}`),
  );
  return element("article", { class: "card", tabindex: "0", "data-row": String(card.row) }, head, pictures, about(evidence, card));
}

/** Typical images of a class with their maps, and the number of its correct predictions. */
export function typicalOf(evidence: Evidence, { label, count, cards }: Section, painter: Painter): HTMLElement {
  const note = `${cards.length} of ${count.toLocaleString("en")} correct`;
  const pictures = element("div", { class: "views" });
  for (const card of cards) {
    pictures.append(figure(evidence, card, "Image", null, painter), figure(evidence, card, `Map for ${named(evidence, label)}`, card.map, painter));
  }
  return element("article", { class: "panel" }, element("h3", {}, named(evidence, label), " ", element("small", {}, note)), pictures);
}

function figure(evidence: Evidence, card: Card, title: string, map: string | null, painter: Painter): HTMLElement {
  const stage = element("div", { class: "stage" });
  const picture = evidence.pictures[card.row];
  if (picture) {
    stage.append(element("img", { src: `data:image/webp;base64,${picture.image}`, alt: card.id }));
    if (picture.region) {
      const style = `clip-path:${frameAround(picture.region)}`;
      stage.append(element("div", { class: "unseen colorless", style }), element("div", { class: "unseen faded", style }));
      stage.append(element("div", { class: "seen", style: placed(picture.region) }));
    }
  } else stage.classList.add("gone");
  if (map) {
    const canvas = element("canvas", { role: "img", "aria-label": `${title}, ${card.id}`, style: placed(picture?.region ?? WHOLE) });
    painter.add(canvas, gridOf(map, evidence.grid));
    stage.append(canvas);
  } else if (title !== "Image") stage.append(element("p", {}, "no positive evidence"));
  if (!picture && title === "Image") stage.append(element("p", {}, "the image no longer exists"));
  return element("figure", {}, stage, element("figcaption", {}, picture?.crop && title === "Image" ? "Image as cropped for the model" : title));
}

const percentages = (region: Region): string[] => region.map((share) => `${(100 * share).toFixed(3)}%`);

/** The style that lays an element over a region of the picture; what reaches beyond the picture is cut off. */
function placed(region: Region): string {
  const [left, top, right, bottom] = region;
  const [x, y, width, height] = percentages([left, top, right - left, bottom - top]);
  return `left:${x};top:${y};width:${width};height:${height}`;
}

/** The shape of everything outside of the region. */
function frameAround(region: Region): string {
  const [left, top, right, bottom] = percentages(region);
  const inner = `${left} ${top},${right} ${top},${right} ${bottom},${left} ${bottom},${left} ${top}`;
  return `polygon(evenodd,0 0,100% 0,100% 100%,0 100%,0 0,${inner})`;
}

function about(evidence: Evidence, card: Card): HTMLElement {
  const bars = element("ol", { class: "bars", "aria-label": "Most likely classes" });
  for (const [index, confidence] of card.top) {
    const mark = index === card.label ? "true" : index === card.predicted && card.label >= 0 ? "wrong" : "";
    const bar = element("span", { class: "bar" }, element("span", { style: `width:${100 * confidence}%` }));
    const name = element("span", {}, named(evidence, index));
    if (index === card.label) name.append(" ", element("small", {}, "true"));
    bars.append(element("li", mark ? { class: mark } : {}, name, element("span", {}, percent(confidence)), bar));
  }
  if (card.label >= 0 && !card.top.some(([index]) => index === card.label)) {
    bars.append(element("li", { class: "true" }, element("span", {}, `${named(evidence, card.label)} is not among them`)));
  }
  const notes = element("div", { class: "words" });
  if (card.reasons.length) {
    const list = element("ul", { class: "reasons" });
    for (const [kind, sentence] of card.reasons) list.append(element("li", { "data-kind": kind }, sentence));
    notes.append(element("h5", {}, "Likely reasons"), list);
  }
  if (card.near.length) {
    const row = element("ul", { class: "near" });
    for (const [place, index, distance] of card.near) {
      const picture = evidence.thumbnails[place];
      const shown = picture
        ? element("img", { src: `data:image/webp;base64,${picture}`, alt: "" })
        : element("span", { class: "gone" });
      row.append(element("li", {}, shown, element("span", {}, named(evidence, index)), element("small", {}, distance.toFixed(2))));
    }
    notes.append(element("h5", {}, "Nearest correctly predicted images"), row);
  }
  return element("div", { class: "about" }, bars, notes);
}
