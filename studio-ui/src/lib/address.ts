// What a view is, as text in the address bar: every view has an address that brings it back.

export interface Target {
  readonly kind: "predicted" | "class" | "contrast";
  readonly index: number | null;
  readonly against: number | null;
}

export interface View {
  image: string;
  layer: string;
  method: string;
  target: Target;
  opacity: number;
  threshold: number;
  colours: string;
  contour: boolean;
  /** Show only what the model sees of a photograph. */
  crop: boolean;
  seed: number;
  show: "all" | "correct" | "incorrect";
  label: number | null;
  layers: string[];
  methods: string[];
  shared: boolean;
  k: number;
  pair: { label: number | null; prediction: number | null };
  tab: string;
  sort: "mean" | "max" | "index";
  /** Of an audit run: the least confidence, the opened row, and how its cloud of points is drawn. */
  least: number;
  row: number | null;
  cloud: "pca" | "tsne" | "umap";
  near: number;
  points: number;
  hue: "label" | "predicted" | "correct" | "confidence";
  lasso: string;
  measure: "border_energy" | "corner_energy" | "entropy" | "spread" | "images";
  surrogate: "lime" | "kernelshap";
  segments: number;
  samples: number;
  features: number;
  trial: number;
}

export const PREDICTED: Target = { kind: "predicted", index: null, against: null };

export function startView(): View {
  return {
    image: "",
    layer: "",
    method: "gradcam",
    target: PREDICTED,
    opacity: 0.5,
    threshold: 0,
    colours: "turbo",
    contour: false,
    crop: false,
    seed: 0,
    show: "all",
    label: null,
    layers: [],
    methods: [],
    shared: false,
    k: 4,
    pair: { label: null, prediction: null },
    tab: "",
    sort: "mean",
    least: 0,
    row: null,
    cloud: "pca",
    near: 0,
    points: 2000,
    hue: "label",
    lasso: "",
    measure: "border_energy",
    surrogate: "lime",
    segments: 50,
    samples: 500,
    features: 10,
    trial: 0,
  };
}

interface Codec<Value> {
  write(value: Value): string;
  read(text: string): Value | undefined;
}

const text: Codec<string> = { write: (value) => value, read: (value) => value };
const flag: Codec<boolean> = { write: (value) => (value ? "1" : ""), read: (value) => value === "1" };
const list: Codec<string[]> = {
  write: (value) => value.join(","),
  read: (value) => value.split(",").filter((one) => one !== ""),
};
const share: Codec<number> = {
  write: (value) => String(Math.round(value * 100) / 100),
  read: (value) => (Number(value) >= 0 && Number(value) <= 1 && value !== "" ? Number(value) : undefined),
};
const count: Codec<number> = {
  write: String,
  read: (value) => (/^\d{1,9}$/.test(value) ? Number(value) : undefined),
};
const maybe: Codec<number | null> = {
  write: (value) => (value === null ? "" : String(value)),
  read: (value) => count.read(value) ?? null,
};
function oneOf<Name extends string>(...names: Name[]): Codec<Name> {
  return { write: (value) => value, read: (value) => names.find((name) => name === value) };
}

/** `c3` is class 3, `c3-c5` class 3 rather than 5; `-c5` the predicted class rather than 5. */
const target: Codec<Target> = {
  write: ({ kind, index, against }) => {
    if (kind === "predicted") return "";
    const first = index === null ? "" : `c${index}`;
    return kind === "class" ? first : `${first}-${against === null ? "" : `c${against}`}`;
  },
  read: (value) => {
    const parts = /^(?:c(\d{1,6}))?(?:(-)(?:c(\d{1,6}))?)?$/.exec(value);
    if (!parts || value === "") return undefined;
    const index = parts[1] === undefined ? null : Number(parts[1]);
    if (!parts[2]) return { kind: "class", index, against: null };
    return { kind: "contrast", index, against: parts[3] === undefined ? null : Number(parts[3]) };
  },
};
const pair: Codec<View["pair"]> = {
  write: ({ label, prediction }) => (label === null && prediction === null ? "" : `${label ?? ""}-${prediction ?? ""}`),
  read: (value) => {
    const [label, prediction] = value.split("-");
    return { label: maybe.read(label ?? "") ?? null, prediction: maybe.read(prediction ?? "") ?? null };
  },
};

const CODECS: { readonly [Name in keyof View]: Codec<View[Name]> } = {
  image: text,
  layer: text,
  method: text,
  target,
  opacity: share,
  threshold: share,
  colours: text,
  contour: flag,
  crop: flag,
  seed: count,
  show: oneOf("all", "correct", "incorrect"),
  label: maybe,
  layers: list,
  methods: list,
  shared: flag,
  k: count,
  pair,
  tab: text,
  sort: oneOf("mean", "max", "index"),
  least: share,
  row: maybe,
  cloud: oneOf("pca", "tsne", "umap"),
  near: count,
  points: count,
  hue: oneOf("label", "predicted", "correct", "confidence"),
  lasso: text,
  measure: oneOf("border_energy", "corner_energy", "entropy", "spread", "images"),
  surrogate: oneOf("lime", "kernelshap"),
  segments: count,
  samples: count,
  features: count,
  trial: count,
};

/** The view as a query string, without what is as it always is. */
export function toQuery(view: View): string {
  const usual = startView();
  const parameters = new URLSearchParams();
  for (const name of Object.keys(CODECS) as (keyof View)[]) {
    const codec = CODECS[name] as Codec<View[typeof name]>;
    const written = codec.write(view[name] as never);
    if (written !== codec.write(usual[name] as never)) parameters.set(name, written);
  }
  return parameters.toString();
}

/** The view that a query string means; what cannot be read stays as it always is. */
export function fromQuery(query: string): View {
  const view = startView();
  const parameters = new URLSearchParams(query);
  for (const name of Object.keys(CODECS) as (keyof View)[]) {
    const written = parameters.get(name);
    if (written === null) continue;
    const value = (CODECS[name] as Codec<unknown>).read(written);
    if (value !== undefined) (view as unknown as Record<string, unknown>)[name] = value;
  }
  return view;
}
