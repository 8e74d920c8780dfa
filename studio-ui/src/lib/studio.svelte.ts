// The studio's status, layers, methods and classes. The status is polled, the rest is loaded once.
import { belongTo, get, Refusal, type ClassInfo, type LayerInfo, type MethodInfo, type Start, type Status } from "../api/client";
import { figure, percent } from "./maps";
import { startWith, startQuery, embeddedStart } from "./start";

interface Studio {
  status: Status | null;
  layers: LayerInfo[];
  methods: MethodInfo[];
  classes: ClassInfo[];
  offline: boolean;
}

export const studio: Studio = $state({ status: null, layers: [], methods: [], classes: [], offline: false });
const embedded = embeddedStart();
if (embedded) begin(embedded);

// derived, so that effects that read it do not run again with every status
const isReady = $derived(studio.status?.state === "ready" && studio.layers.length > 0);
export const ready = (): boolean => isReady;
/** Whether the model has numeric outputs instead of classes with confidences. */
export const regression = (): boolean => studio.status?.model?.task === "regression";
/** A confidence in percent, or the plain output of a regression model. */
export const confidenceText = (value: number | null | undefined, digits = 1): string =>
  regression() ? figure(value) : percent(value, digits);
export const defaultLayer = (): string => studio.status?.model?.default_layer ?? "";
export const className = (index: number | null | undefined): string =>
  index === null || index === undefined ? "" : (studio.classes[index]?.name ?? `class ${index}`);

// milliseconds between two status requests
const LOADING = 60;
const PREDICTING = 400;
const IDLE = 2500;

function begin(start: Start): void {
  const { status, layers, methods, classes } = start;
  belongTo(status.session);
  startWith(start);
  Object.assign(studio, { layers, methods, classes, status });
}

/** Load everything in one request; until the studio is ready, the answer holds the status only. */
async function beginWhenReady(): Promise<void> {
  const start = await get<Start>("/api/start", startQuery());
  if (start.status.state === "ready") begin(start);
  else studio.status = start.status;
}

/** Poll the status, more often while it changes. Returns a function that stops it. */
export function watchStatus(): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout>;
  const look = async (): Promise<void> => {
    try {
      const status = studio.layers.length > 0 ? await get<Status>("/api/status") : null;
      if (status && status.session === studio.status?.session) studio.status = status;
      else await beginWhenReady(); // at first, and if a restarted studio answers at this address
      studio.offline = false;
    } catch (error) {
      studio.offline = !(error instanceof Refusal) || error.kind === "offline";
    }
    if (!stopped) timer = setTimeout(() => void look(), pause());
  };
  timer = setTimeout(() => void look(), embedded ? pause() : 0);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function pause(): number {
  const status = studio.status;
  if (!status || status.state === "loading") return LOADING;
  return status.state === "ready" && status.predictions.done < status.predictions.total ? PREDICTING : IDLE;
}
