// The open audit run: its summary, its class names, and its measures.
import type { RunSummary } from "../api/client";
import type { Option } from "../parts/Choice.svelte";
import { Asked } from "./asked.svelte";
import { studio } from "./studio.svelte";
import { addressOf } from "./view.svelte";

export const run = new Asked<RunSummary>();
// The status is replaced every few seconds; effects that read these run only when the values change.
const state = $derived(studio.status?.state ?? "");
const open = $derived(studio.status?.run ?? null);

/** Load the summary, and again once the studio has located the images. Call in an effect. */
export function followRun(): void {
  void state;
  if (open) void run.fetch("/api/audit/run");
}

/** Changes when the images of the run become available: read it in effects that load rows. */
export const pictured = (): string => state;

export const runClass = (index: number | null | undefined): string =>
  index === null || index === undefined ? "no class" : (run.answer?.class_names[index] ?? `class ${index}`);

/** A label and a prediction as a phrase, such as "cat predicted as dog" or "cat, correct". */
export function pairText(label: number | null | undefined, prediction: number | null | undefined): string {
  if (label === null || label === undefined) return `predicted as ${runClass(prediction)}`;
  return label === prediction ? `${runClass(label)}, correct` : `${runClass(label)} predicted as ${runClass(prediction)}`;
}

export function runClassOptions(): Option[] {
  const names = run.answer?.class_names ?? [];
  return [{ value: "", label: "All classes" }, ...names.map((label, index) => ({ value: String(index), label, detail: String(index) }))];
}

export const MEASURES = {
  border_energy: { title: "Border energy", meaning: "share of the evidence along the image border" },
  corner_energy: { title: "Corner energy", meaning: "share of the evidence in the four corners" },
  entropy: { title: "Entropy", meaning: "0: a single cell, 1: uniform" },
  spread: { title: "Spread", meaning: "mean distance of the evidence from its center" },
} as const;

/** The address of a shortcut's evidence. */
export const shortcutAddress = (flag: number | null): string => addressOf("/shortcuts", { flag, row: null });

/** The colors of the results of a shortcut test. */
export const LOOKS = { confirmed: "bad", unused: "", object: "", "too-few": "" } as const;
