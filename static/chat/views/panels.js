/**
 * The lists at the sides. On a wide screen they are columns; below their breakpoint they slide in over the
 * conversation, hold the focus, and close with Escape, the button, or a tap beside them.
 */
import { byId } from "./dom.js";

export class Panels {
  #panels = [...document.querySelectorAll(".panel")];
  #scrim = byId("scrim");
  #open = null;
  #opener = null;

  constructor() {
    for (const button of document.querySelectorAll("[data-open-panel]")) {
      button.addEventListener("click", () => this.#show(byId(button.dataset.openPanel), button));
    }
    for (const button of document.querySelectorAll("[data-close-panel]")) {
      button.addEventListener("click", () => this.close());
    }
    this.#scrim.addEventListener("click", () => this.close());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#open) this.close();
    });
    for (const panel of this.#panels) {
      // The same widths as in css/layout.css: a panel that becomes a column is no longer open or closed.
      const narrow = matchMedia(`(width < ${panel.dataset.drawerBelow}px)`);
      narrow.addEventListener("change", () => panel === this.#open && this.close());
    }
  }

  close() {
    if (!this.#open) return;
    this.#open.classList.remove("open");
    this.#setAside(false);
    this.#opener.setAttribute("aria-expanded", "false");
    this.#opener.focus();
    this.#open = this.#opener = null;
  }

  #show(panel, opener) {
    this.#open = panel;
    this.#opener = opener;
    panel.classList.add("open");
    opener.setAttribute("aria-expanded", "true");
    this.#setAside(true);
    panel.querySelector("[data-close-panel]").focus();
  }

  /** While one panel is open, nothing else takes the focus. */
  #setAside(aside) {
    this.#scrim.hidden = !aside;
    byId("conversation").inert = byId("skip").inert = aside;
    for (const other of this.#panels) other.inert = aside && other !== this.#open;
  }
}
