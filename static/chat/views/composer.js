/** The box where messages are written. Text leaves it only once the session has taken it. */
import { size } from "../text.js";
import { byId, write } from "./dom.js";

const REFUSALS = {
  "too-big": "This message is too long to send. Shorten it, or split it into several.",
  stopped: "You are not connected. The message stays here until you are.",
  full: "Too many messages are still waiting. This one stays here: send it when they are through.",
};

export class ComposerView {
  #form = byId("composer");
  #text = byId("say");
  #problem = byId("composer-problem");
  #size = byId("composer-size");

  /**
   * @param {{say: (text: string) => string, sizeOf: (text: string) => number, limit: () => number}} session
   *   `say` answers "taken", "empty", "too-big", "stopped" or "full"
   */
  constructor(session) {
    this.session = session;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address names the conversation, nothing else
      this.#text.focus();
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    this.#text.addEventListener("input", () => this.#typed());
  }

  /** @param {string} placeName  "#lounge" or "Everyone" */
  enter(placeName) {
    write(byId("say-label"), `Message to ${placeName}`);
    this.#text.placeholder = `Message ${placeName}`;
    this.#typed();
  }

  /** Ready to write; on a touch screen, where the keyboard would cover the log, at the room's name. */
  focus() {
    const target = matchMedia("(hover: none)").matches ? byId("room-name") : this.#text;
    target.focus({ preventScroll: true });
  }

  /** The connection is back, or has new limits: what was in the way may be gone. */
  refresh() {
    this.#typed();
  }

  #key(event) {
    // While an input method composes a word, Enter belongs to it (229 is what Safari says then).
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const answer = this.session.say(this.#text.value);
    if (answer === "taken") this.#text.value = "";
    this.#typed();
    write(this.#problem, REFUSALS[answer] ?? "");
    this.#text.focus({ preventScroll: true });
  }

  #typed() {
    const text = this.#text.value;
    this.#text.parentElement.dataset.value = text.slice(0, 5_000); // it grows with this
    this.#form.classList.toggle("has-text", Boolean(text.trim()));
    const limit = this.session.limit();
    // A character is at most 6 bytes on the wire, so short texts need no counting at every key.
    const bytes = text.length * 6 > limit * 0.5 ? this.session.sizeOf(text) : 0;
    this.#form.classList.toggle("over", bytes > limit);
    write(this.#size, bytes > limit * 0.8 ? `${size(bytes)} of ${size(limit)}` : "");
    write(this.#problem, bytes > limit ? REFUSALS["too-big"] : "");
  }
}
