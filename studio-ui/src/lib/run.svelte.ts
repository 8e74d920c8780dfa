// The audit run that is open: its facts, loaded once, and its classes by name.
import { get, Refusal, type RunSummary } from "../api/client";
import type { Option } from "../parts/Choice.svelte";
import { studio } from "./studio.svelte";

interface Run {
  summary: RunSummary | null;
  problem: string;
}
export const run: Run = $state({ summary: null, problem: "" });
// the status is another object every few seconds; these change only when they do
const state = $derived(studio.status?.state ?? "");
const open = $derived(studio.status?.run ?? null);

/** Load the run's facts, and again once the studio knows which of its images are there. Call in an effect. */
export function followRun(): void {
  void state;
  if (!open) return;
  get<RunSummary>("/api/audit/run").then(
    (summary) => Object.assign(run, { summary, problem: "" }),
    (error: unknown) => (run.problem = error instanceof Refusal ? error.message : String(error)),
  );
}

/** Changes when pictures can be had that could not be had before. */
export const pictured = (): string => state;

export const runClass = (index: number | null | undefined): string =>
  index === null || index === undefined ? "no class" : (run.summary?.class_names[index] ?? `class ${index}`);

export function runClassOptions(first: string): Option[] {
  const names = run.summary?.class_names ?? [];
  return [{ value: "", label: first }, ...names.map((label, index) => ({ value: String(index), label, detail: String(index) }))];
}
