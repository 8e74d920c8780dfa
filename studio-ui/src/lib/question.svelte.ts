// A question to the worker as the page sees it: its answer, its progress, its fault; the last one asked counts.
import { answerAtStart } from "./start";
import { ask, Refusal, type Progress, type Question } from "../api/client";

export class Asked<Result> {
  answer: Result | null = $state.raw(null);
  problem: Refusal | null = $state.raw(null);
  progress: Progress | null = $state.raw(null);
  busy = $state(false);
  /** Milliseconds from asking to having the answer. */
  took = $state(0);
  #control: AbortController | null = null;

  async pose(question: Question): Promise<void> {
    this.#control?.abort();
    const known = answerAtStart(question) as Result | null;
    if (known) {
      this.clear();
      this.answer = known;
      return;
    }
    const control = (this.#control = new AbortController());
    this.busy = true;
    this.progress = null;
    const start = performance.now();
    try {
      const result = await ask<Result>(question, control.signal, (progress) => {
        if (this.#control === control) this.progress = progress;
      });
      if (this.#control !== control) return;
      this.answer = result;
      this.problem = null;
      this.took = performance.now() - start;
    } catch (error) {
      if (this.#control !== control) return;
      this.problem = error instanceof Refusal ? error : new Refusal("fault", String(error));
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
