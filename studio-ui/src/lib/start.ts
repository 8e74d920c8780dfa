// Answers embedded in the page by the server, so that the first view needs no further request.
import type { Question, SampleList, Start } from "../api/client";
import { fromQuery } from "./address";

const embedded = new Map<string, unknown>();

/** The data that the server wrote into the page, if any. */
export function embeddedStart(): Start | null {
  const text = document.getElementById("start")?.textContent;
  return text ? (JSON.parse(text) as Start) : null;
}

/** The part of the address that determines the first answers. */
export function startQuery(): { seed: number; show: string; label: number | null; image: string } {
  const { seed, show, label, image } = fromQuery(location.search);
  return { seed, show, label, image };
}

const stripKey = (seed: number, show: string, label: number | null): string => `strip ${seed} ${show} ${label}`;
const questionKey = (body: unknown): string => `question ${JSON.stringify(body)}`;

export function startWith(start: Start): void {
  const { seed, show, label } = startQuery();
  if (start.samples) embedded.set(stripKey(seed, show, label), start.samples);
  if (start.question && start.explanation) embedded.set(questionKey(start.question), start.explanation);
}

/** Return and forget an embedded answer: later requests go to the server. */
function take(key: string): unknown {
  const answer = embedded.get(key) ?? null;
  embedded.delete(key);
  return answer;
}

export function stripAtStart(seed: number, show: string, label: number | null): SampleList | null {
  return take(stripKey(seed, show, label)) as SampleList | null;
}

export function answerAtStart(question: Question): unknown {
  return question.path === "/api/explanations" ? take(questionKey(question.body)) : null;
}
