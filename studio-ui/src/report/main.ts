// The self-contained report and the notebook view: sliders, and every map drawn anew as they move. No framework.
import { COLOUR_MAPS, colourTable, DIVERGING, type ColourTable } from "../core/colours";
import { cellAt, decodeGrid, heatmap, inward, magnitude, range, signedmap, WHOLE, type Frame, type Grid, type Region } from "../core/grid";
import { blended, coloured, type Look, type Picture } from "../core/overlay";
import { paint, pixelsOf } from "../core/paint";
import style from "./report.css?inline";

interface MapData {
  readonly title: string;
  readonly shape: readonly number[];
  readonly values: string;
  readonly warning: string | null;
  /** Whether it is drawn as evidence for and against. */
  readonly diverging: boolean;
}
interface ImageData_ {
  readonly title: string;
  readonly size: readonly [number, number];
  readonly picture: string | null;
  /** What the model sees of the picture; null or nothing is all of it. */
  readonly region?: Region | null;
  readonly maps: readonly MapData[];
  readonly facts: readonly (readonly [string, string])[];
  readonly task?: "classification" | "regression";
  readonly predictions: readonly (readonly [string, number])[];
}
interface PageData {
  readonly opacity: number;
  readonly colours: string;
  readonly images: readonly ImageData_[];
}
type Settings = Look & { readonly colours: string; readonly crop: boolean };
type Draw = (settings: Settings) => void;

const FINE = 320; // pixels along the longer side, at least: coarse maps are drawn smoothly

function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The photograph in full, and what the model sees of it alone. */
async function viewsOf(image: ImageData_): Promise<[Picture, Picture] | null> {
  if (image.picture === null) return null;
  const source = new Image();
  source.src = `data:image/png;base64,${image.picture}`;
  await source.decode();
  const [height, width] = image.size;
  const view = (crop: boolean): Picture =>
    pixelsOf(source, { height, width, region: image.region }, Math.max(FINE, height, width), crop);
  return [view(false), view(true)];
}

/** A map without its photograph: nothing where it is below the threshold, and its line on demand. */
function bare(heat: Grid, table: ColourTable, look: Look, signed: boolean): Picture {
  const drawn = blended(coloured(heat, table, signed), heat, table, { ...look, opacity: 0 });
  heat.values.forEach((value, i) => {
    if (Math.abs(value) < look.threshold) drawn.pixels[i * 4 + 3] = 0;
  });
  return drawn;
}

const number = (value: number): string => Number(value.toPrecision(4)).toString();

interface Tile {
  readonly node: HTMLElement;
  readonly draw: (picture: Picture) => void;
}

/** Canvas, title and the value under the pointer. */
function tile(title: string, alt: string, grid: Grid | null): Tile {
  const canvas = element("canvas", { role: "img", "aria-label": alt, width: "1", height: "1" });
  const reading = element("span", { class: "reading" });
  const stage = element("div", { class: "stage" }, canvas, reading);
  let shown: Frame = { height: 1, width: 1 };
  canvas.addEventListener("pointermove", (event) => {
    if (!grid) return;
    const [left, top, right, bottom] = shown.region ?? WHOLE;
    const x = inward(event.offsetX / canvas.clientWidth, left, right);
    const y = inward(event.offsetY / canvas.clientHeight, top, bottom);
    const { value, row, column } = cellAt(grid, x, y);
    reading.textContent = x < 0 || y < 0 || x > 1 || y > 1 ? "not seen by the model" : `${number(value)} · cell ${row}, ${column}`;
  });
  canvas.addEventListener("pointerleave", () => (reading.textContent = ""));
  const draw = (picture: Picture): void => {
    shown = picture;
    stage.style.width = `${100 * Math.min(1, (1.5 * picture.width) / picture.height)}%`; // no tower of a narrow picture
    paint(canvas, picture);
  };
  return { node: element("figure", {}, element("figcaption", {}, title), stage), draw };
}

/** What the two sides of signed evidence look like, and how much the deepest colours stand for. */
const legend = (most: number): (Node | string)[] => [
  element("span", { class: "side" }, element("span", { class: "key supports" }), `supports, up to +${number(most)}`),
  " ",
  element("span", { class: "side" }, element("span", { class: "key opposes" }), `opposes, down to −${number(most)}`),
];

async function card(image: ImageData_): Promise<{ node: HTMLElement; draws: Draw[] }> {
  const views = await viewsOf(image);
  const [height, width] = image.size;
  const viewOf = (settings: Settings): Picture | null => views && views[settings.crop ? 1 : 0];
  const tiles = element("div", { class: "tiles" });
  const draws: Draw[] = [];
  if (views) {
    const original = tile("Original", `${image.title}, the image`, null);
    draws.push((settings) => original.draw(viewOf(settings)!));
    tiles.append(original.node);
  }
  for (const map of image.maps) {
    const grid = decodeGrid(map.shape, map.values);
    const signed = map.diverging;
    const heats = (views ?? [{ height, width }]).map((frame) => (signed ? signedmap(grid, frame) : heatmap(grid, frame)));
    const heatOf = (settings: Settings): Grid => heats[settings.crop ? 1 : 0] ?? heats[0]!;
    const tableOf = (settings: Settings) => colourTable(signed ? DIVERGING : settings.colours);
    const drawn = tile(map.title, `${image.title}, ${map.title}`, grid);
    const said = signed ? legend(magnitude(grid)) : [`highest value ${number(Math.max(0, range(grid.values)[1]))}`];
    if (signed || !map.warning) drawn.node.append(element("p", { class: "note" }, ...said));
    if (map.warning) drawn.node.append(element("p", { class: "note warning" }, map.warning));
    if (views && image.maps.length === 1) {
      const alone = tile("Heat map", `${image.title}, heat map`, grid);
      tiles.append(alone.node);
      draws.push((settings) => alone.draw({ ...viewOf(settings)!, ...coloured(heatOf(settings), tableOf(settings), signed) }));
    }
    tiles.append(drawn.node);
    draws.push((settings) => {
      const [table, heat, picture] = [tableOf(settings), heatOf(settings), viewOf(settings)];
      drawn.draw(picture ? blended(picture, heat, table, settings, signed) : bare(heat, table, settings, signed));
    });
  }
  const facts = element("dl");
  for (const [name, value] of image.facts) facts.append(element("dt", {}, name), element("dd", {}, value));
  const bars = element("ol");
  for (const [name, confidence] of image.predictions) {
    if (image.task === "regression") {
      bars.append(element("li", {}, element("span", {}, name), element("span", {}, String(Number(confidence.toPrecision(4))))));
      continue;
    }
    const bar = element("span", { class: "bar" }, element("span"));
    bar.firstElementChild!.setAttribute("style", `width:${confidence * 100}%`);
    bars.append(element("li", {}, element("span", {}, name), element("span", {}, `${(confidence * 100).toFixed(1)} %`), bar));
  }
  const about = element("div", { class: "about" }, facts, bars);
  return { node: element("article", {}, element("h2", {}, image.title), tiles, about), draws };
}

function slider(title: string, value: number, onchange: (value: number) => void): HTMLElement {
  const output = element("output", {}, value.toFixed(2));
  const id = title.toLowerCase();
  const input = element("input", { id, type: "range", min: "0", max: "1", step: "0.01", value: String(value) });
  input.addEventListener("input", () => {
    output.textContent = Number(input.value).toFixed(2);
    onchange(Number(input.value));
  });
  // said by name: the output is the first thing a label could belong to
  return element("label", { for: id }, element("span", {}, title, " ", output), input);
}

async function start(): Promise<void> {
  const data = JSON.parse(document.getElementById("maps")!.textContent) as PageData;
  document.head.append(element("style", {}, style));
  let settings: Settings = { opacity: data.opacity, threshold: 0, contour: false, crop: false, colours: data.colours };
  const draws: Draw[] = [];
  const change = (part: Partial<Settings>): void => {
    settings = { ...settings, ...part };
    for (const draw of draws) draw(settings);
  };
  const plain = data.images.some((image) => image.maps.some((map) => !map.diverging)); // evidence has its own colours
  const colours = element("select", { "aria-label": "Colours" });
  for (const name of COLOUR_MAPS) colours.append(element("option", name === data.colours ? { selected: "" } : {}, name));
  colours.addEventListener("change", () => change({ colours: colours.value }));
  const check = (title: string, onchange: (on: boolean) => void): HTMLElement => {
    const input = element("input", { type: "checkbox" });
    input.addEventListener("change", () => onchange(input.checked));
    return element("label", { class: "check" }, input, title);
  };
  document.querySelector("header")!.append(
    element(
      "form",
      {},
      ...(data.images.some((image) => image.picture) ? [slider("Opacity", data.opacity, (opacity) => change({ opacity }))] : []),
      slider("Threshold", 0, (threshold) => change({ threshold })),
      ...(plain ? [element("label", {}, element("span", {}, "Colours"), colours)] : []),
      check("Contour line", (contour) => change({ contour })),
      ...(data.images.some((image) => image.region) ? [check("Only what the model sees", (crop) => change({ crop }))] : []),
    ),
  );
  const main = document.querySelector("main")!;
  for (const image of data.images) {
    const made = await card(image);
    main.append(made.node);
    for (const draw of made.draws) draw(settings);
    draws.push(...made.draws);
  }
  document.documentElement.dataset.ready = "";
}

void start();
