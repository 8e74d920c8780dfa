// The studio's API, typed by the schema that the server itself gives.
import type { components } from "./schema";

export type Schemas = components["schemas"];
export type Start = Schemas["Start"];
export type Status = Schemas["Status"];
export type ImageInfo = Schemas["ImageInfo"];
export type LayerInfo = Schemas["LayerInfo"];
export type MethodInfo = Schemas["MethodInfo"];
export type ClassInfo = Schemas["ClassInfo"];
export type SampleList = Schemas["SampleList"];
export type Explanations = Schemas["ExplanationResult"];
export type MapResult = Schemas["MapResult"];
export type TargetChoice = Schemas["TargetChoice"];
export type Comparison = Schemas["Comparison"];
export type Activations = Schemas["ActivationMaps"];
export type Filters = Schemas["LearnedFilters"];
export type Facing = Schemas["Facing"];
export type Examples = Schemas["Examples"];
export type RunSummary = Schemas["RunSummary"];
export type ErrorsOverview = Schemas["ErrorsOverview"];
export type ErrorGallery = Schemas["ErrorGallery"];
export type MappedRow = Schemas["MappedRow"];
export type NearRow = Schemas["NearRow"];
export type RowList = Schemas["RowList"];
export type RowDetail = Schemas["RowDetail"];
export type Segments = Schemas["SegmentsResult"];
export type SegmentsRequest = Schemas["SegmentsRequest"];
/** What is known of an image beside its maps. */
export type Answered = Pick<Explanations, "image" | "predictions" | "label_confidence">;

export interface Progress {
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  readonly position: number;
  readonly done: number;
  readonly total: number;
  /** The first map so far, where the method gets better as it goes. */
  readonly estimate?: Schemas["GridValues"] | null;
}

interface JobAnswer<Result> extends Progress {
  readonly id: string;
  readonly problem?: Schemas["Problem"] | null;
  readonly result?: Result | null;
}

/** What the server refused, in words for people. */
export class Refusal extends Error {
  constructor(
    readonly kind: string,
    message: string,
    readonly status = 0,
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

function address(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

async function answer<Result>(path: string, init: RequestInit = {}): Promise<Result> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refusal("offline", "The studio does not answer. Is it still running?");
  }
  if (response.ok) return (await response.json()) as Result;
  const problem = (await response.json().catch(() => null)) as Schemas["Problem"] | null;
  throw new Refusal(problem?.kind ?? "http", problem?.message ?? `The studio answered ${response.status}.`, response.status);
}

export function get<Result>(path: string, query?: Query, signal?: AbortSignal): Promise<Result> {
  return answer(address(path, query), { signal });
}

export function upload(file: Blob): Promise<ImageInfo> {
  return answer("/api/uploads", {
    method: "POST",
    body: file,
    headers: { "content-type": file.type || "application/octet-stream" },
  });
}

export function openDemo(model: string): Promise<Status> {
  return answer("/api/demo", { method: "POST", body: JSON.stringify({ model }), headers: { "content-type": "application/json" } });
}

export interface Question {
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
}

const PATIENCE = 0.6;
const LONG = 60;

/** Ask something the worker has to compute: follow its progress, and stop it when `signal` aborts. */
export async function ask<Result>(
  question: Question,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void = () => {},
): Promise<Result> {
  let wait = PATIENCE;
  for (let attempt = 0; attempt < 4; attempt++) {
    const job = await pose<Result>(question, wait, signal);
    if (job.state === "done" && job.result) return job.result;
    if (job.state === "failed") throw new Refusal(job.problem?.kind ?? "fault", job.problem?.message ?? "It failed.");
    if (job.state === "cancelled") throw new Refusal("cancelled", "This was cancelled.");
    if (job.state !== "done") await follow(job.id, signal, onProgress);
    wait = LONG;
  }
  throw new Refusal("lost", "The result was lost on the way. Ask again.");
}

function pose<Result>(question: Question, wait: number, signal: AbortSignal): Promise<JobAnswer<Result>> {
  const path = address(question.path, { ...question.query, wait });
  if (question.body === undefined) return answer(path, { signal });
  return answer(path, {
    method: "POST",
    body: JSON.stringify(question.body),
    headers: { "content-type": "application/json" },
    signal,
  });
}

/** Listen to a job until it is over. */
function follow(id: string, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${id}/events`);
    const end = (): void => {
      source.close();
      signal.removeEventListener("abort", giveUp);
    };
    const giveUp = (): void => {
      end();
      void fetch(`/api/jobs/${id}`, { method: "DELETE", credentials: "same-origin" });
      reject(new Refusal("cancelled", "This was cancelled."));
    };
    signal.addEventListener("abort", giveUp);
    source.onmessage = (event: MessageEvent<string>) => {
      const job = JSON.parse(event.data) as JobAnswer<never>;
      onProgress(job);
      if (job.state === "failed") {
        end();
        reject(new Refusal(job.problem?.kind ?? "fault", job.problem?.message ?? "It failed."));
      } else if (job.state === "done" || job.state === "cancelled") {
        end();
        resolve();
      }
    };
    source.onerror = () => {
      end();
      reject(new Refusal("offline", "The connection to the studio broke. Ask again."));
    };
  });
}

// Pictures may be kept by the browser; another session of the studio has other ones under the same ids.
let session = "";
export function belongTo(name: string): void {
  session = name;
}
export const pictureAddress = (image: string): string => `/api/images/${image}/picture.png?v=${session}`;
export const thumbnailAddress = (image: string): string => `/api/images/${image}/thumbnail.webp?v=${session}`;
