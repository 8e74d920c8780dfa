// Client of the studio's API, with types generated from its OpenAPI schema.
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
export type MapCheck = Schemas["MapCheck"];
export type MapResult = Schemas["MapResult"];
export type Examples = Schemas["Examples"];
export type RunSummary = Schemas["RunSummary"];
export type ErrorsOverview = Schemas["ErrorsOverview"];
export type MappedRow = Schemas["MappedRow"];
export type Segments = Schemas["SegmentsResult"];
/** An image with its predictions, without maps. */
export type Answered = Pick<Explanations, "image" | "predictions" | "label_confidence">;

export interface Progress {
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  readonly position: number;
  readonly done: number;
  readonly total: number;
  /** The preliminary first map of a method that refines its result. */
  readonly estimate?: Schemas["GridValues"] | null;
}

interface JobAnswer<Result> extends Progress {
  readonly id: string;
  readonly problem?: Schemas["Problem"] | null;
  readonly result?: Result | null;
}

/** A failed request; `message` is written for the user. */
export class Refusal extends Error {
  constructor(
    readonly kind: string,
    message: string,
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
    throw new Refusal("offline", "The studio is not responding. Check that it is still running.");
  }
  if (response.ok) return (await response.json()) as Result;
  const problem = (await response.json().catch(() => null)) as Schemas["Problem"] | null;
  throw new Refusal(problem?.kind ?? "http", problem?.message ?? `The studio responded with status ${response.status}.`);
}

export function get<Result>(path: string, query?: Query, signal?: AbortSignal): Promise<Result> {
  return answer(address(path, query), { signal });
}

export function upload(file: Blob): Promise<ImageInfo> {
  return answer("/api/uploads", { method: "POST", body: file, headers: { "content-type": file.type || "application/octet-stream" } });
}

export function openDemo(model: string): Promise<Status> {
  return answer("/api/demo", { method: "POST", body: JSON.stringify({ model }), headers: JSON_TYPE });
}

export interface Question {
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
}

// seconds that the server may hold a request open
const FIRST_WAIT = 0.6;
const LAST_WAIT = 60;
const JSON_TYPE = { "content-type": "application/json" };

/** Start a job, report its progress and return its result; aborting `signal` cancels the job. */
export async function ask<Result>(
  question: Question,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void = () => {},
): Promise<Result> {
  let wait = FIRST_WAIT;
  for (let attempt = 0; attempt < 4; attempt++) {
    const job = await pose<Result>(question, wait, signal);
    if (job.state === "done" && job.result) return job.result;
    if (job.state === "failed") throw failureOf(job);
    if (job.state === "cancelled") throw new Refusal("cancelled", "The computation was cancelled.");
    if (job.state !== "done") await follow(job.id, signal, onProgress);
    wait = LAST_WAIT;
  }
  throw new Refusal("lost", "The result is no longer available. Run it again.");
}

const failureOf = ({ problem }: JobAnswer<unknown>): Refusal => new Refusal(problem?.kind ?? "fault", problem?.message ?? "The computation failed.");

function pose<Result>(question: Question, wait: number, signal: AbortSignal): Promise<JobAnswer<Result>> {
  const path = address(question.path, { ...question.query, wait });
  if (question.body === undefined) return answer(path, { signal });
  return answer(path, { method: "POST", body: JSON.stringify(question.body), headers: JSON_TYPE, signal });
}

/** Wait until a job has ended. */
function follow(id: string, signal: AbortSignal, onProgress: (progress: Progress) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${id}/events`);
    const end = (failure?: Refusal): void => {
      source.close();
      signal.removeEventListener("abort", cancel);
      if (failure) reject(failure);
      else resolve();
    };
    const cancel = (): void => {
      void fetch(`/api/jobs/${id}`, { method: "DELETE", credentials: "same-origin" });
      end(new Refusal("cancelled", "The computation was cancelled."));
    };
    signal.addEventListener("abort", cancel);
    source.onmessage = (event: MessageEvent<string>) => {
      const job = JSON.parse(event.data) as JobAnswer<never>;
      onProgress(job);
      if (job.state === "failed") end(failureOf(job));
      else if (job.state === "done" || job.state === "cancelled") end();
    };
    source.onerror = () => end(new Refusal("offline", "The connection to the studio was lost. Run it again."));
  });
}

// The browser caches images. After a restart the same ids stand for other images, so addresses name the session.
let session = "";
export function belongTo(name: string): void {
  session = name;
}
export const pictureAddress = (image: string): string => `/api/images/${image}/picture.png?v=${session}`;
export const shortcutPictureAddress = (shortcut: number, example: number, which: string): string =>
  `/api/audit/shortcuts/${shortcut}/${example}/${which}.png?v=${session}`;
export const thumbnailAddress = (image: string): string => `/api/images/${image}/thumbnail.webp?v=${session}`;
