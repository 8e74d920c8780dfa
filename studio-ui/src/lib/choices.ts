// Options of the choosers: layers by stage, methods by cost, classes by confidence.
import type { Answered, ClassInfo, LayerInfo, MethodInfo, Question, Schemas } from "../api/client";
import type { Target } from "./address";
import { COSTS } from "./costs";
import type { Option } from "../parts/Choice.svelte";
import { sizeText } from "./maps";
import { confidenceText, defaultLayer, regression, studio } from "./studio.svelte";
import { view } from "./view.svelte";

const STAGES = { early: "Early layers", middle: "Middle layers", late: "Late layers" } as const;

/** Usable layers from early to late, then the others with the reason why they cannot be chosen. */
export function layerOptions(layers: readonly LayerInfo[]): Option[] {
  const usable = layers
    .filter((layer) => layer.usable)
    .map((layer) => ({
      value: layer.name,
      label: layer.name,
      detail: `${layer.name === defaultLayer() ? "default · " : ""}${sizeText(layer.grid)} · ${layer.type}`,
      group: STAGES[layer.stage],
    }));
  const others = layers
    .filter((layer) => !layer.usable)
    .map((layer) => ({ value: layer.name, label: layer.name, reason: layer.reason, group: "Not available" }));
  return [...usable, ...others];
}

export function methodOptions(methods: readonly MethodInfo[]): Option[] {
  const order = Object.keys(COSTS);
  return methods
    .toSorted((a, b) => order.indexOf(a.cost) - order.indexOf(b.cost))
    .map((method) => ({ value: method.name, label: method.name, detail: method.good_for, group: COSTS[method.cost] }));
}

export const methodNamed = (name: string): MethodInfo | undefined => studio.methods.find((method) => method.name === name);

/** The chosen method if it is among these, else Grad-CAM: pages with many maps offer fast methods only. */
export function quickMethod(methods: readonly MethodInfo[]): string {
  return methods.some((method) => method.name === view.method) ? view.method : "gradcam";
}

/** All classes, the most likely ones of this image first. */
export function classOptions(classes: readonly ClassInfo[], answer: Answered | null, first?: Option): Option[] {
  const likely = answer?.predictions ?? [];
  const places = new Set(likely.map((prediction) => prediction.index));
  return [
    ...(first ? [first] : []),
    ...likely.map((prediction) => ({
      value: String(prediction.index),
      label: prediction.name,
      detail: confidenceText(prediction.confidence),
      group: regression() ? "Outputs" : "Most likely",
    })),
    ...classes
      .filter(({ index }) => !places.has(index))
      .map(({ index, name }) => ({ value: String(index), label: name, detail: `${index}`, group: regression() ? "All outputs" : "All classes" })),
  ];
}

export function targetChoice({ kind, index, against }: Target): Schemas["TargetChoice"] {
  return { kind, index, against, k: 3 };
}

/** The chosen layer, as the list that a request takes. */
export const chosenLayers = (): string[] => [view.layer || defaultLayer()].filter(Boolean);

export interface Wanted {
  readonly image: string;
  readonly methods: readonly string[];
  readonly layers: readonly string[];
  readonly target: Schemas["TargetChoice"];
}

export function checkQuestion(wanted: Wanted): Question {
  return { path: "/api/checks", body: wanted };
}

export function explanationQuestion(wanted: Wanted): Question {
  return { path: "/api/explanations", body: wanted };
}
