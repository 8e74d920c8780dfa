// What something will cost, said beforehand in words.
import type { MethodInfo } from "../api/client";

export const COSTS: Readonly<Record<MethodInfo["cost"], string>> = {
  cheap: "At once",
  seconds: "Seconds",
  minutes: "Minutes",
};

/** "about 3 s", "about 2 minutes": how long something is expected to take. */
export function secondsText(seconds: number): string {
  if (seconds < 1.5) return "takes a second";
  if (seconds < 90) return `takes about ${seconds < 10 ? Math.round(seconds) : Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 2 ? "takes about a minute" : `takes about ${minutes} minutes`;
}

const SENTENCES: Readonly<Record<MethodInfo["cost"], string>> = {
  cheap: "Answers at once.",
  seconds: "Takes seconds: it asks the model many times.",
  minutes: "May take minutes on a large model: it asks the model very many times. Watch its progress, or cancel it.",
};

/** What to expect of a method before it is asked. */
export const costSentence = (method: Pick<MethodInfo, "cost">): string => SENTENCES[method.cost];
