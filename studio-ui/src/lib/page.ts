import type { IconName } from "../parts/Icon.svelte";

/** How a page is listed in the navigation. */
export interface Page {
  readonly path: string;
  readonly title: string;
  readonly icon: IconName;
  readonly order: number;
  readonly question: string;
  /** Whether the page works without a model. */
  readonly always?: boolean;
  /** Whether the page shows an audit run and works without a model. */
  readonly run?: boolean;
}
