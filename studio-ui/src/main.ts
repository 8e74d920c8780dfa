import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";

function begin(): void {
  const target = document.getElementById("app")!;
  target.replaceChildren();
  mount(App, { target });
}

// let the browser paint the splash screen first
if (document.hidden) begin();
else requestAnimationFrame(() => setTimeout(begin));
