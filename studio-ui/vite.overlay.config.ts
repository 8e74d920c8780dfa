import { defineConfig } from "vite";

// The script inside reports and notebooks: one classic file, no imports.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../src/camlens/render/interactive/static",
    emptyOutDir: true,
    target: "es2022",
    lib: { entry: "src/report/main.ts", formats: ["iife"], name: "camlensOverlay", fileName: () => "overlay.js" },
  },
});
