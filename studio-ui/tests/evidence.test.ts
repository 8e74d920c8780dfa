import { describe, expect, it } from "vitest";
import { choiceOf, chosen, EVERYTHING, gridOf, hashOf, type Card, type Evidence } from "../src/audit-report/evidence";

const card = (row: number, label: number, predicted: number, confidence: number, kind = "unsure"): Card => ({
  row,
  id: `${row}.png`,
  label,
  predicted,
  confidence,
  top: [],
  reasons: label === predicted ? [] : [[kind, "because"]],
  near: [],
  map: null,
  truth: null,
});

const evidence: Evidence = {
  classes: ["cat", "dog & co", "fish"],
  grid: [1, 2],
  cards: [card(1, 0, 1, 0.5), card(2, 2, 1, 0.9, "far_from_class"), card(3, 0, 1, 0.8), card(4, 0, 0, 0.99), card(5, 0, 1, 0.8)],
  pictures: {},
  thumbnails: {},
  means: {},
  pairs: [
    [0, 1, 7],
    [2, 1, 1],
    [0, 0, 40],
  ],
};
const rows = (part: object): number[][] => chosen(evidence, { ...EVERYTHING, ...part }).map(({ cards }) => cards.map(({ row }) => row));

describe("the gallery", () => {
  it("shows errors by pair, the most frequent pair and the most confident image first", () => {
    expect(rows({})).toEqual([[3, 5, 1], [2]]);
    expect(chosen(evidence, EVERYTHING)[0]!.count).toBe(7);
  });
  it("filters by true class, predicted class, confidence and reason", () => {
    expect(rows({ label: 2 })).toEqual([[2]]);
    expect(rows({ predicted: 1, confidence: 0.8 })).toEqual([[3, 5], [2]]);
    expect(rows({ reason: "far_from_class" })).toEqual([[2]]);
    expect(rows({ label: 1 })).toEqual([]);
  });
  it("shows right answers only where a cell of the diagonal is asked for", () => {
    expect(rows({ label: 0, predicted: 0 })).toEqual([[4]]);
  });
});

describe("maps and addresses", () => {
  it("reads a map of bytes as shares of its highest value", () => {
    expect([...gridOf(btoa(String.fromCharCode(0, 255)), [1, 2]).values]).toEqual([0, 1]);
    expect(() => gridOf(btoa("a"), [1, 2])).toThrow("1 values for 1 x 2");
  });
  it("brings a choice of classes back from the address", () => {
    const choice = { ...EVERYTHING, label: 0, predicted: 1 };
    expect(hashOf(choice, evidence.classes)).toBe("#true=cat&predicted=dog+%26+co");
    expect(choiceOf(hashOf(choice, evidence.classes), evidence.classes)).toEqual(choice);
    expect(choiceOf("#true=cow", evidence.classes)).toEqual(EVERYTHING);
    expect(hashOf(EVERYTHING, evidence.classes)).toBe("");
  });
});
