// The answers that came inside the page: whoever asks one of these questions first need not ask the server.
import type { Question, SampleList, Start } from "../api/client";
import { fromQuery } from "./address";

const held = new Map<string, unknown>();

/** What the server wrote into the page, if anything. */
export function whatCameAlong(): Start | null {
  const text = document.getElementById("start")?.textContent;
  return text ? (JSON.parse(text) as Start) : null;
}

/** What of the address decides about the first answers. */
export function startQuery(): { seed: number; show: string; label: number | null; image: string } {
  const { seed, show, label, image } = fromQuery(location.search);
  return { seed, show, label, image };
}

const stripKey = (seed: number, show: string, label: number | null): string => `strip ${seed} ${show} ${label}`;
const questionKey = (body: unknown): string => `question ${JSON.stringify(body)}`;

export function startWith(start: Start): void {
  const { seed, show, label } = startQuery();
  if (start.samples) held.set(stripKey(seed, show, label), start.samples);
  if (start.question && start.explanation) held.set(questionKey(start.question), start.explanation);
}

function taken(key: string): unknown {
  const found = held.get(key) ?? null;
  held.delete(key);
  return found;
}

/** The strip that came along, for the first who asks. */
export function stripAtStart(seed: number, show: string, label: number | null): SampleList | null {
  return taken(stripKey(seed, show, label)) as SampleList | null;
}

/** The answer that came along, for the first who asks. */
export function answerAtStart(question: Question): unknown {
  return question.path === "/api/explanations" ? taken(questionKey(question.body)) : null;
}
