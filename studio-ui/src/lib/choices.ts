// What can be chosen, as options for a Choice: layers by stage, methods by cost, classes by likelihood.
import type { Answered, ClassInfo, LayerInfo, MethodInfo, Question, TargetChoice } from "../api/client";

import type { Target } from "./address";
import { COSTS } from "./costs";
import type { Option } from "../parts/Choice.svelte";
import { sizeText } from "./maps";
import { confidenceText, regression } from "./studio.svelte";

const STAGES = { early: "Early layers", middle: "Middle layers", late: "Late layers" } as const;

/** Layers that can carry a map, early to late; then the others with the reason why not. */
export function layerOptions(layers: readonly LayerInfo[], standard: string): Option[] {
  const usable = layers
    .filter((layer) => layer.usable)
    .map((layer) => ({
      value: layer.name,
      label: layer.name,
      detail: `${layer.name === standard ? "default · " : ""}${sizeText(layer.grid)} · ${layer.type}`,
      group: STAGES[layer.stage],
    }));
  const others = layers
    .filter((layer) => !layer.usable)
    .map((layer) => ({ value: layer.name, label: layer.name, reason: layer.reason, group: "Cannot carry a map" }));
  return [...usable, ...others];
}

export function methodOptions(methods: readonly MethodInfo[]): Option[] {
  const order = Object.keys(COSTS);
  return methods
    .toSorted((a, b) => order.indexOf(a.cost) - order.indexOf(b.cost))
    .map((method) => ({ value: method.name, label: method.name, detail: method.good_for, group: COSTS[method.cost] }));
}

/** The method chosen, where it is among these; else Grad-CAM: many pictures at once cannot wait for a slow one. */
export function quickMethod(methods: readonly MethodInfo[], chosen: string): string {
  return methods.some((method) => method.name === chosen) ? chosen : "gradcam";
}

/** Classes, the most likely ones of this image first. */
export function classOptions(classes: readonly ClassInfo[], answer: Answered | null, first?: Option): Option[] {
  const likely = answer?.predictions ?? [];
  const places = new Set(likely.map((one) => one.index));
  return [
    ...(first ? [first] : []),
    ...likely.map((one) => ({
      value: String(one.index),
      label: one.name,
      detail: confidenceText(one.confidence),
      group: regression() ? "Outputs" : "Most likely",
    })),
    ...classes
      .filter((one) => !places.has(one.index))
      .map((one) => ({ value: String(one.index), label: one.name, detail: `${one.index}`, group: regression() ? "All outputs" : "All classes" })),
  ];
}

export function targetChoice(target: Target): TargetChoice {
  return { kind: target.kind, index: target.index, against: target.against, k: 3 };
}

export interface Wanted {
  readonly image: string;
  readonly methods: readonly string[];
  readonly layers: readonly string[];
  readonly target: TargetChoice;
}

export function explanationQuestion(wanted: Wanted): Question {
  return { path: "/api/explanations", body: wanted };
}
