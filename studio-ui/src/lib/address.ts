// The state that all pages share, and its form in the address bar: reloading or sharing an address restores the view.

export interface Target {
  readonly kind: "predicted" | "class" | "contrast";
  readonly index: number | null;
  readonly against: number | null;
}
export interface ClassPair {
  readonly label: number | null;
  readonly prediction: number | null;
}

export const PREDICTED: Target = { kind: "predicted", index: null, against: null };
export const ANY_PAIR: ClassPair = { label: null, prediction: null };

/** One value of the view: its default, and how it is written to and read from a query string. */
interface Field<Value> {
  readonly initial: Value;
  write(value: Value): string;
  /** The value, or undefined if the text is invalid. */
  read(text: string): Value | undefined;
}

const text = (initial = ""): Field<string> => ({ initial, write: (value) => value, read: (value) => value });
const flag: Field<boolean> = { initial: false, write: (value) => (value ? "1" : ""), read: (value) => value === "1" };
const list: Field<string[]> = {
  initial: [],
  write: (value) => value.join(","),
  read: (value) => value.split(",").filter((name) => name !== ""),
};
const share = (initial: number): Field<number> => ({
  initial,
  write: (value) => String(Math.round(value * 100) / 100),
  read: (value) => (Number(value) >= 0 && Number(value) <= 1 && value !== "" ? Number(value) : undefined),
});
const count = (initial: number): Field<number> => ({
  initial,
  write: String,
  read: (value) => (/^\d{1,9}$/.test(value) ? Number(value) : undefined),
});
const index: Field<number | null> = {
  initial: null,
  write: (value) => (value === null ? "" : String(value)),
  read: (value) => count(0).read(value) ?? null,
};
const oneOf = <Name extends string>(initial: Name, ...others: Name[]): Field<Name> => ({
  initial,
  write: (value) => value,
  read: (value) => [initial, ...others].find((name) => name === value),
});

/** `c3` is class 3, `c3-c5` is class 3 minus class 5, `-c5` is the predicted class minus class 5. */
const target: Field<Target> = {
  initial: PREDICTED,
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
const pair: Field<ClassPair> = {
  initial: ANY_PAIR,
  write: ({ label, prediction }) => (label === null && prediction === null ? "" : `${label ?? ""}-${prediction ?? ""}`),
  read: (value) => {
    const [label, prediction] = value.split("-");
    return { label: index.read(label ?? "") ?? null, prediction: index.read(prediction ?? "") ?? null };
  },
};

const FIELDS = {
  image: text(),
  layer: text(),
  method: text("gradcam"),
  target,
  opacity: share(0.5),
  threshold: share(0),
  colors: text("turbo"),
  contour: flag,
  /** Show only the part of an image that the model sees. */
  crop: flag,
  seed: count(0),
  show: oneOf("all", "correct", "incorrect"),
  label: index,
  layers: list,
  methods: list,
  /** Draw all layers on one color scale. */
  shared: flag,
  k: count(4),
  pair,
  tab: text(),
  sort: oneOf("mean", "max", "index"),
  // audit pages: the open shortcut, minimum confidence, the open row, and how the embeddings are drawn
  flag: index,
  least: share(0),
  row: index,
  cloud: oneOf("pca", "tsne", "umap"),
  near: count(0),
  points: count(2000),
  hue: oneOf("label", "predicted", "correct", "confidence"),
  lasso: text(),
  measure: oneOf("border_energy", "corner_energy", "entropy", "spread", "images"),
  // LIME and KernelSHAP
  surrogate: oneOf("lime", "kernelshap"),
  segments: count(50),
  samples: count(500),
  features: count(10),
  trial: count(0),
};

type Fields = typeof FIELDS;
export type View = { [Name in keyof Fields]: Fields[Name]["initial"] };

const entries = Object.entries(FIELDS) as [keyof View, Field<unknown>][];

export function startView(): View {
  return Object.fromEntries(entries.map(([name, field]) => [name, field.initial])) as View;
}

/** The view as a query string; values that equal the default are left out. */
export function toQuery(view: View): string {
  const parameters = new URLSearchParams();
  for (const [name, field] of entries) {
    const written = field.write(view[name]);
    if (written !== field.write(field.initial)) parameters.set(name, written);
  }
  return parameters.toString();
}

/** The view of a query string; missing and invalid values take the default. */
export function fromQuery(query: string): View {
  const parameters = new URLSearchParams(query);
  const values = entries.map(([name, field]) => {
    const written = parameters.get(name);
    return [name, (written === null ? undefined : field.read(written)) ?? field.initial];
  });
  return Object.fromEntries(values) as View;
}
