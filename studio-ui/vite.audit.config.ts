import { defineConfig } from "vite";

// The script inside the report of an audit: one classic file, no imports, beside the one of vite.overlay.config.ts.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../src/camlens/render/interactive/static",
    emptyOutDir: false,
    target: "es2022",
    lib: { entry: "src/audit-report/main.ts", formats: ["iife"], name: "camlensAudit", fileName: () => "audit.js" },
  },
});
