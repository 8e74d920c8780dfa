// A plain question to the server: the last one asked counts, an earlier answer stays until the new one is here.
import { get, Refusal, type Query } from "../api/client";

export class Fetched<Result> {
  answer: Result | null = $state.raw(null);
  /** What the answer is the answer to. */
  about = $state("");
  problem = $state("");
  busy = $state(false);
  #control: AbortController | null = null;

  async from(path: string, query: Query = {}): Promise<void> {
    this.#control?.abort();
    const control = (this.#control = new AbortController());
    this.busy = true;
    try {
      const found = await get<Result>(path, query, control.signal);
      if (this.#control !== control) return;
      this.answer = found;
      this.about = JSON.stringify([path, query]);
      this.problem = "";
    } catch (error) {
      if (this.#control !== control) return;
      this.problem = error instanceof Refusal ? error.message : String(error);
    }
    this.busy = false;
  }
}
