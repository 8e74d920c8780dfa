import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";

function begin(): void {
  const target = document.getElementById("app")!;
  target.replaceChildren();
  mount(App, { target });
}

// people see at once that something comes: what stands in the page is painted before the work begins
if (document.hidden) begin();
else requestAnimationFrame(() => setTimeout(begin));
