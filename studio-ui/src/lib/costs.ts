// How long a computation is expected to take, in words.
import type { MethodInfo } from "../api/client";

export const COSTS: Readonly<Record<MethodInfo["cost"], string>> = {
  cheap: "Instant",
  seconds: "Seconds",
  minutes: "Minutes",
};

export const COST_SENTENCES: Readonly<Record<MethodInfo["cost"], string>> = {
  cheap: "Instant.",
  seconds: "Takes seconds: runs the model many times.",
  minutes: "May take minutes on a large model: runs the model thousands of times.",
};

/** A duration as "about 3 s" or "about 2 minutes". */
export function secondsText(seconds: number): string {
  if (seconds < 1.5) return "about 1 s";
  if (seconds < 90) return `about ${seconds < 10 ? Math.round(seconds) : Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 2 ? "about 1 minute" : `about ${minutes} minutes`;
}
