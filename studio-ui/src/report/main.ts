// The HTML report and the notebook view: maps that are redrawn when a slider moves. No framework.
import { COLOR_MAPS, colorTable, DIVERGING, type ColorTable } from "../core/colors";
import { cellAt, decodeGrid, heatmap, inward, magnitude, range, signedmap, WHOLE, type Frame, type Grid, type Region } from "../core/grid";
import { chooser, element, slider } from "../core/element";
import { blended, colored, type Look, type Picture } from "../core/overlay";
import { paint, pixelsOf } from "../core/paint";
import style from "./report.css?inline";

interface MapData {
  readonly title: string;
  readonly shape: readonly number[];
  readonly values: string;
  readonly warning: string | null;
  /** Whether it is drawn as signed evidence. */
  readonly diverging: boolean;
}
interface ImageEntry {
  readonly title: string;
  readonly size: readonly [number, number];
  readonly picture: string | null;
  /** The region that the model sees; without one, the whole image. */
  readonly region?: Region | null;
  readonly maps: readonly MapData[];
  readonly facts: readonly (readonly [string, string])[];
  readonly task?: "classification" | "regression";
  readonly predictions: readonly (readonly [string, number])[];
}
interface PageData {
  readonly opacity: number;
  readonly colours: string;
  readonly images: readonly ImageEntry[];
}
type Settings = Look & { readonly colors: string; readonly crop: boolean };
type Draw = (settings: Settings) => void;

const FINE = 320; // minimum pixels along the longer side, so that coarse maps are smooth

/** The whole image, and its crop to the model's input. */
async function viewsOf(image: ImageEntry): Promise<[Picture, Picture] | null> {
  if (image.picture === null) return null;
  const source = new Image();
  source.src = `data:image/png;base64,${image.picture}`;
  await source.decode();
  const [height, width] = image.size;
  const view = (crop: boolean): Picture =>
    pixelsOf(source, { height, width, region: image.region }, Math.max(FINE, height, width), crop);
  return [view(false), view(true)];
}

/** A map without an image: transparent below the threshold, with an optional contour line. */
function bare(heat: Grid, table: ColorTable, look: Look, signed: boolean): Picture {
  const drawn = blended(colored(heat, table, signed), heat, table, { ...look, opacity: 0 });
  heat.values.forEach((value, i) => {
    if (Math.abs(value) < look.threshold) drawn.pixels[i * 4 + 3] = 0;
  });
  return drawn;
}

const number = (value: number): string => Number(value.toPrecision(4)).toString();

type Tile = { readonly node: HTMLElement; readonly draw: (picture: Picture) => void };

/** A titled canvas that shows the value under the pointer. */
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
    reading.textContent = x < 0 || y < 0 || x > 1 || y > 1 ? "outside of the model input" : `${number(value)} · cell ${row}, ${column}`;
  });
  canvas.addEventListener("pointerleave", () => (reading.textContent = ""));
  const draw = (picture: Picture): void => {
    shown = picture;
    stage.style.width = `${100 * Math.min(1, (1.5 * picture.width) / picture.height)}%`; // limit the height of narrow images
    paint(canvas, picture);
  };
  return { node: element("figure", {}, element("figcaption", {}, title), stage), draw };
}

/** The legend of signed evidence, with the value of the strongest colors. */
const legend = (most: number): (Node | string)[] => [
  element("span", { class: "side" }, element("span", { class: "key supports" }), `supports, up to +${number(most)}`),
  " ",
  element("span", { class: "side" }, element("span", { class: "key opposes" }), `opposes, down to −${number(most)}`),
];

async function card(image: ImageEntry): Promise<{ node: HTMLElement; draws: Draw[] }> {
  const views = await viewsOf(image);
  const [height, width] = image.size;
  const viewOf = (settings: Settings): Picture | null => views && views[settings.crop ? 1 : 0];
  const tiles = element("div", { class: "tiles" });
  const draws: Draw[] = [];
  if (views) {
    const original = tile("Original", `${image.title}, original image`, null);
    draws.push((settings) => original.draw(viewOf(settings)!));
    tiles.append(original.node);
  }
  for (const map of image.maps) {
    const grid = decodeGrid(map.shape, map.values);
    const signed = map.diverging;
    const heats = (views ?? [{ height, width }]).map((frame) => (signed ? signedmap(grid, frame) : heatmap(grid, frame)));
    const heatOf = (settings: Settings): Grid => heats[settings.crop ? 1 : 0] ?? heats[0]!;
    const tableOf = (settings: Settings) => colorTable(signed ? DIVERGING : settings.colors);
    const drawn = tile(map.title, `${image.title}, ${map.title}`, grid);
    const note = signed ? legend(magnitude(grid)) : [`highest value ${number(Math.max(0, range(grid.values)[1]))}`];
    if (signed || !map.warning) drawn.node.append(element("p", { class: "note" }, ...note));
    if (map.warning) drawn.node.append(element("p", { class: "note warning" }, map.warning));
    if (views && image.maps.length === 1) {
      const alone = tile("Heat map", `${image.title}, heat map`, grid);
      tiles.append(alone.node);
      draws.push((settings) => alone.draw({ ...viewOf(settings)!, ...colored(heatOf(settings), tableOf(settings), signed) }));
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

async function start(): Promise<void> {
  const data = JSON.parse(document.getElementById("maps")!.textContent) as PageData;
  document.head.append(element("style", {}, style));
  let settings: Settings = { opacity: data.opacity, threshold: 0, contour: false, crop: false, colors: data.colours };
  const draws: Draw[] = [];
  const change = (part: Partial<Settings>): void => {
    settings = { ...settings, ...part };
    for (const draw of draws) draw(settings);
  };
  const unsigned = data.images.some((image) => image.maps.some((map) => !map.diverging)); // signed maps have fixed colors
  const colors = chooser("Colors", COLOR_MAPS.map((name) => [name, name] as const), (name) => change({ colors: name }));
  colors.set(data.colours);
  const check = (title: string, onchange: (on: boolean) => void): HTMLElement => {
    const input = element("input", { type: "checkbox" });
    input.addEventListener("change", () => onchange(input.checked));
    return element("label", { class: "check" }, input, title);
  };
  document.querySelector("header")!.append(
    element(
      "form",
      {},
      ...(data.images.some((image) => image.picture) ? [slider("Opacity", data.opacity, (opacity) => change({ opacity })).label] : []),
      slider("Threshold", 0, (threshold) => change({ threshold })).label,
      ...(unsigned ? [colors.label] : []),
      check("Contour line", (contour) => change({ contour })),
      ...(data.images.some((image) => image.region) ? [check("Crop to model input", (crop) => change({ crop }))] : []),
    ),
  );
  const main = document.querySelector("main")!;
  for (const image of data.images) {
    const { node, draws: added } = await card(image);
    main.append(node);
    for (const draw of added) draw(settings);
    draws.push(...added);
  }
  document.documentElement.dataset.ready = "";
}

void start();
