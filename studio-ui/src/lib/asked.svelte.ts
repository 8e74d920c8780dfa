// Requests as a page sees them: answer, error, progress.
import { ask, get, Refusal, type Progress, type Query, type Question } from "../api/client";
import { answerAtStart } from "./start";

/** The latest of a series of requests. A new request cancels the one before it; the old answer stays until the new one arrives. */
export class Asked<Result> {
  answer: Result | null = $state.raw(null);
  /** The request that `answer` belongs to, as JSON. */
  about = $state("");
  problem: Refusal | null = $state.raw(null);
  progress: Progress | null = $state.raw(null);
  busy = $state(false);
  /** Milliseconds from request to answer. */
  took = $state(0);
  #control: AbortController | null = null;

  /** Why the last request failed; empty if it succeeded or was cancelled. */
  get failure(): string {
    return this.problem && this.problem.kind !== "cancelled" ? this.problem.message : "";
  }

  /** Ask a question that the server answers in a job, with progress. */
  async pose(question: Question): Promise<void> {
    const known = answerAtStart(question) as Result | null;
    if (known) {
      this.clear();
      this.answer = known;
      this.about = JSON.stringify(question);
      return;
    }
    await this.#run(question, (signal, onProgress) => ask<Result>(question, signal, onProgress));
  }

  /** Send a plain GET request. */
  async fetch(path: string, query: Query = {}): Promise<void> {
    await this.#run({ path, query }, (signal) => get<Result>(path, query, signal));
  }

  async #run(question: Question, send: (signal: AbortSignal, onProgress: (progress: Progress) => void) => Promise<Result>): Promise<void> {
    this.#control?.abort();
    const control = (this.#control = new AbortController());
    this.busy = true;
    this.progress = null;
    const start = performance.now();
    try {
      const answer = await send(control.signal, (progress) => {
        if (this.#control === control) this.progress = progress;
      });
      if (this.#control !== control) return;
      this.answer = answer;
      this.about = JSON.stringify(question);
      this.problem = null;
      this.took = performance.now() - start;
    } catch (error) {
      if (this.#control !== control) return;
      this.problem = error instanceof Refusal ? error : new Refusal("fault", messageOf(error));
    }
    this.busy = false;
    this.progress = null;
  }

  cancel(): void {
    this.#control?.abort();
    this.busy = false;
    this.progress = null;
    this.#control = null;
  }

  clear(): void {
    this.cancel();
    this.answer = null;
    this.problem = null;
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
