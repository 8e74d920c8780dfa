// What the studio is and knows: status, layers, methods, classes. Loaded once, the status again and again.
import { belongTo, get, Refusal, type ClassInfo, type LayerInfo, type MethodInfo, type Start, type Status } from "../api/client";
import { figure, percent } from "./maps";
import { startWith, startQuery, whatCameAlong } from "./start";

interface Studio {
  status: Status | null;
  layers: LayerInfo[];
  methods: MethodInfo[];
  classes: ClassInfo[];
  offline: boolean;
}

export const studio: Studio = $state({ status: null, layers: [], methods: [], classes: [], offline: false });
const cameAlong = whatCameAlong();
if (cameAlong) begin(cameAlong);

// derived, so that an effect that waits for it does not run again with every status
const isReady = $derived(studio.status?.state === "ready" && studio.layers.length > 0);
export const ready = (): boolean => isReady;
/** Whether the model measures something: then there are outputs instead of classes with confidences. */
export const regression = (): boolean => studio.status?.model?.task === "regression";
/** A class's confidence, or the output of a regression as it is. */
export const confidenceText = (value: number | null | undefined, digits = 1): string =>
  regression() ? figure(value) : percent(value, digits);
export const defaultLayer = (): string => studio.status?.model?.default_layer ?? "";
export const className = (index: number | null | undefined): string =>
  index === null || index === undefined ? "" : (studio.classes[index]?.name ?? `class ${index}`);

const AT_ONCE = 60;
const SOON = 400;
const LATER = 2500;

function begin(start: Start): void {
  const { status, layers, methods, classes } = start;
  belongTo(status.session);
  startWith(start);
  Object.assign(studio, { layers, methods, classes, status });
}

/** Ask for everything at once: until the studio is ready its answer is no more than the status. */
async function beginWhenReady(): Promise<void> {
  const start = await get<Start>("/api/start", startQuery());
  if (start.status.state === "ready") begin(start);
  else studio.status = start.status;
}

/** Keep the status fresh: fast while something moves, slowly else. Returns how to stop. */
export function watchStatus(): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout>;
  const look = async (): Promise<void> => {
    try {
      const status = studio.layers.length > 0 ? await get<Status>("/api/status") : null;
      if (status && status.session === studio.status?.session) studio.status = status;
      else await beginWhenReady(); // the first time, and where another studio answers under this address
      studio.offline = false;
    } catch (error) {
      studio.offline = !(error instanceof Refusal) || error.kind === "offline";
    }
    if (!stopped) timer = setTimeout(() => void look(), pause());
  };
  timer = setTimeout(() => void look(), cameAlong ? pause() : 0);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function pause(): number {
  const status = studio.status;
  if (!status || status.state === "loading") return AT_ONCE;
  return status.state === "ready" && status.predictions.done < status.predictions.total ? SOON : LATER;
}
