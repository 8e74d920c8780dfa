import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    // a canvas that shows a picture is an image to assistive technology
    warningFilter: (warning) => warning.code !== "a11y_no_interactive_element_to_noninteractive_role",
  },
};
