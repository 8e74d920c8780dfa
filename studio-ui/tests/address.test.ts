import { describe, expect, it } from "vitest";
import { fromQuery, startView, toQuery, type View } from "../src/lib/address";

describe("the address of a view", () => {
  it("is empty for the start view", () => {
    expect(toQuery(startView())).toBe("");
  });

  it("brings every part of a view back", () => {
    const view: View = {
      image: "s12",
      layer: "layer4.1",
      method: "layercam",
      target: { kind: "contrast", index: 3, against: 5 },
      opacity: 0.35,
      threshold: 0.2,
      colors: "viridis",
      contour: true,
      crop: true,
      seed: 7,
      show: "incorrect",
      label: 0,
      layers: ["a", "b.c"],
      methods: ["gradcam++"],
      shared: true,
      k: 6,
      pair: { label: 2, prediction: null },
      tab: "filters",
      sort: "max",
      flag: 2,
      least: 0.75,
      row: 0,
      cloud: "umap",
      near: 12,
      points: 20000,
      hue: "confidence",
      lasso: "00zz7f00zzzz",
      measure: "entropy",
      surrogate: "kernelshap",
      segments: 80,
      samples: 1500,
      features: 12,
      trial: 3,
    };
    expect(fromQuery(toQuery(view))).toEqual(view);
  });

  it.each([
    [{ kind: "class", index: 0, against: null }],
    [{ kind: "contrast", index: null, against: 4 }],
    [{ kind: "predicted", index: null, against: null }],
  ] as const)("keeps the target %j", (target) => {
    expect(fromQuery(toQuery({ ...startView(), target })).target).toEqual(target);
  });

  it("stays as it always is where the address is nonsense", () => {
    expect(fromQuery("opacity=7&threshold=x&target=%20&k=-3&show=everything&sort=")).toEqual(startView());
  });
});
