// One image of the gallery: its maps for both classes, the best classes, the likely reason, its neighbours.
import { element } from "./element";
import { gridOf, type Card, type Evidence } from "./evidence";
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
  pictures.append(figure(evidence, card, wrong ? `Why ${predicted}` : `Evidence for ${predicted}`, card.map, painter));
  if (wrong) pictures.append(figure(evidence, card, `Why not ${label}`, card.truth, painter));
  const head = element(
    "header",
    {},
    element("h4", {}, card.id),
    element("span", { class: wrong ? "chip bad" : "chip good" }, `${predicted} ${percent(card.confidence)}`),
  );
  return element("article", { class: "card", tabindex: "0", "data-row": String(card.row) }, head, pictures, about(evidence, card));
}

function figure(evidence: Evidence, card: Card, title: string, map: string | null, painter: Painter): HTMLElement {
  const stage = element("div", { class: "stage" });
  const picture = evidence.pictures[card.row];
  if (picture) stage.append(element("img", { src: `data:image/webp;base64,${picture}`, alt: `${card.id}`, loading: "lazy" }));
  else stage.classList.add("gone");
  if (map) {
    const canvas = element("canvas", { role: "img", "aria-label": `${title}, ${card.id}` });
    painter.add(canvas, gridOf(map, evidence.grid));
    stage.append(canvas);
  } else if (title !== "Image") stage.append(element("p", {}, "no evidence for this class"));
  if (!picture && title === "Image") stage.append(element("p", {}, "the image is no longer there"));
  return element("figure", {}, stage, element("figcaption", {}, title));
}

function about(evidence: Evidence, card: Card): HTMLElement {
  const bars = element("ol", { class: "bars", "aria-label": "The best classes" });
  for (const [index, confidence] of card.top) {
    const mark = index === card.label ? "true" : index === card.predicted && card.label >= 0 ? "wrong" : "";
    const bar = element("span", { class: "bar" }, element("span", { style: `width:${100 * confidence}%` }));
    const name = element("span", {}, named(evidence, index));
    if (index === card.label) name.append(" ", element("small", {}, "true"));
    bars.append(element("li", mark ? { class: mark } : {}, name, element("span", {}, percent(confidence)), bar));
  }
  if (card.label >= 0 && !card.top.some(([index]) => index === card.label)) {
    bars.append(element("li", { class: "true" }, element("span", {}, `${named(evidence, card.label)} is not among these`)));
  }
  const words = element("div", { class: "words" });
  if (card.reasons.length) {
    const list = element("ul", { class: "reasons" });
    for (const [kind, sentence] of card.reasons) list.append(element("li", { "data-kind": kind }, sentence));
    words.append(element("h5", {}, "Likely reason"), list);
  }
  if (card.near.length) {
    const row = element("ul", { class: "near" });
    for (const [place, index, distance] of card.near) {
      const picture = evidence.thumbnails[place];
      const shown = picture
        ? element("img", { src: `data:image/webp;base64,${picture}`, alt: "", loading: "lazy" })
        : element("span", { class: "gone" });
      row.append(element("li", {}, shown, element("span", {}, named(evidence, index)), element("small", {}, distance.toFixed(2))));
    }
    words.append(element("h5", {}, "Nearest recognised images"), row);
  }
  return element("div", { class: "about" }, bars, words);
}
