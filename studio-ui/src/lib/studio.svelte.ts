// What the studio is and knows: status, layers, methods, classes. Loaded once, the status again and again.
import { belongTo, get, Refusal, type ClassInfo, type LayerInfo, type MethodInfo, type Status } from "../api/client";

interface Studio {
  status: Status | null;
  layers: LayerInfo[];
  methods: MethodInfo[];
  classes: ClassInfo[];
  offline: boolean;
}

export const studio: Studio = $state({ status: null, layers: [], methods: [], classes: [], offline: false });

export const ready = (): boolean => studio.status?.state === "ready" && studio.layers.length > 0;
export const defaultLayer = (): string => studio.status?.model?.default_layer ?? "";
export const className = (index: number | null | undefined): string =>
  index === null || index === undefined ? "" : (studio.classes[index]?.name ?? `class ${index}`);

const SOON = 400;
const LATER = 2500;

/** Keep the status fresh: fast while something moves, slowly else. Returns how to stop. */
export function watchStatus(): () => void {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout>;
  const look = async (): Promise<void> => {
    try {
      const status = await get<Status>("/api/status");
      belongTo(status.session);
      if (status.state === "ready" && (studio.layers.length === 0 || studio.status?.session !== status.session)) {
        const [layers, methods, classes] = await Promise.all([
          get<LayerInfo[]>("/api/layers"),
          get<MethodInfo[]>("/api/methods"),
          get<ClassInfo[]>("/api/classes"),
        ]);
        Object.assign(studio, { layers, methods, classes });
      }
      studio.status = status;
      studio.offline = false;
    } catch (error) {
      studio.offline = !(error instanceof Refusal) || error.kind === "offline";
    }
    if (!stopped) timer = setTimeout(() => void look(), busy() ? SOON : LATER);
  };
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function busy(): boolean {
  const status = studio.status;
  if (!status || status.state === "loading") return true;
  return status.state === "ready" && status.predictions.done < status.predictions.total;
}
