// The data of the report: cards of images with their maps, and the filters that select them.
import { decodeBytes, type Grid, type Region } from "../core/grid";

export interface Card {
  readonly row: number;
  readonly id: string;
  /** The true class, -1 if it is unknown. */
  readonly label: number;
  readonly predicted: number;
  readonly confidence: number;
  readonly top: readonly (readonly [number, number])[];
  /** Kind and sentence, the strongest first; empty if the prediction is correct. */
  readonly reasons: readonly (readonly [string, string])[];
  /** Row, class and distance of the nearest correctly predicted images. */
  readonly near: readonly (readonly [number, number, number])[];
  /** One byte per cell, 255 for the map's maximum. */
  readonly map: string | null;
  readonly truth: string | null;
}

export interface CardPicture {
  /** Base64 WebP. */
  readonly image: string;
  /** The part of the image that the model saw and the maps cover; null if it is all of it. */
  readonly region: Region | null;
  /** Whether only what the model saw is known, so that the image is that. */
  readonly crop: boolean;
}

export interface Evidence {
  readonly classes: readonly string[];
  readonly grid: readonly [number, number];
  readonly cards: readonly Card[];
  readonly pictures: Readonly<Record<string, CardPicture>>;
  /** Base64 WebP by row. */
  readonly thumbnails: Readonly<Record<string, string>>;
  /** Mean maps by class, one byte per cell. */
  readonly means: Readonly<Record<string, string>>;
  /** Label, predicted class and number of images of each pair in the run, most frequent first. */
  readonly pairs: readonly (readonly [number, number, number])[];
}

export interface Choice {
  readonly label: number | null;
  readonly predicted: number | null;
  readonly confidence: number;
  readonly reason: string;
}

export const EVERYTHING: Choice = { label: null, predicted: null, confidence: 0, reason: "" };

export interface Section {
  readonly label: number;
  readonly predicted: number;
  /** The number of images of the pair in the run. */
  readonly count: number;
  readonly cards: readonly Card[];
}

/** The cards that match, by confusion, the most confident first. Typical correct predictions match only if a class is chosen twice. */
export function chosen(evidence: Evidence, choice: Choice): Section[] {
  const correct = choice.label !== null && choice.label === choice.predicted;
  const fits = (card: Card): boolean =>
    (card.label === card.predicted) === correct &&
    (choice.label === null || card.label === choice.label) &&
    (choice.predicted === null || card.predicted === choice.predicted) &&
    card.confidence >= choice.confidence &&
    (choice.reason === "" || card.reasons.some(([kind]) => kind === choice.reason));
  const piles = new Map<string, Card[]>();
  for (const card of evidence.cards.filter(fits)) {
    const pair = `${card.label} ${card.predicted}`;
    piles.set(pair, [...(piles.get(pair) ?? []), card]);
  }
  const order = (card: Card, other: Card): number => other.confidence - card.confidence || card.row - other.row;
  return evidence.pairs.flatMap(([label, predicted, count]) => {
    const cards = piles.get(`${label} ${predicted}`);
    return cards ? [{ label, predicted, count, cards: cards.toSorted(order) }] : [];
  });
}

/** The typical correct predictions of every class, in the order of the classes. */
export function typical(evidence: Evidence): Section[] {
  return evidence.classes
    .flatMap((_, index) => chosen(evidence, { ...EVERYTHING, label: index, predicted: index }))
    .filter(({ cards }) => cards.length > 0);
}

/** Decode a map of bytes to values in [0, 1]. */
export function gridOf(bytes: string, [height, width]: readonly [number, number]): Grid {
  const values = Float32Array.from(decodeBytes(bytes), (value) => value / 255);
  if (values.length !== height * width) throw new Error(`${values.length} values for ${height} x ${width}`);
  return { height, width, values };
}

/** Parse the hash of the address, which names the classes. */
export function choiceOf(hash: string, classes: readonly string[]): Choice {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name: string): number | null => {
    const place = classes.indexOf(parameters.get(name) ?? "");
    return place < 0 ? null : place;
  };
  return { ...EVERYTHING, label: number("true"), predicted: number("predicted") };
}

/** The hash of a choice; empty for all errors. */
export function hashOf(choice: Choice, classes: readonly string[]): string {
  const parameters = new URLSearchParams();
  if (choice.label !== null) parameters.set("true", classes[choice.label]!);
  if (choice.predicted !== null) parameters.set("predicted", classes[choice.predicted]!);
  const text = parameters.toString();
  return text ? `#${text}` : "";
}
