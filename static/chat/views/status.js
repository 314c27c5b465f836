/**
 * The state of the connection: a word and a dot in the head, the round-trip time, a banner that says what is
 * wrong and what can be done, and the same in words for a screen reader (once, not every second).
 */
import { plural } from "../text.js";
import { byId, write } from "./dom.js";

const WORDS = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  stopped: "Disconnected",
};

export class StatusView {
  #status = byId("status");
  #banner = byId("banner");
  #verdict = null; // the last trouble, until a connection is open again
  #retryAt = null;
  #mayHurry = false;
  #code = null;
  #queued = 0;
  #ticker = null;

  /**
   * @param {boolean} signedIn  for whoever is not, signing in may open a room that refused them
   * @param {{hurry: () => void, reconnect: () => void, "choose-room": () => void}} on
   */
  constructor(signedIn, on) {
    this.signedIn = signedIn;
    for (const [name, act] of Object.entries(on)) this.#action(name).addEventListener("click", act);
  }

  /** @param {import("../client.js").State} state */
  show(state) {
    if (state.status === "open") this.#verdict = null;
    else this.#verdict = state.verdict ?? this.#verdict;
    this.#retryAt = state.retryAt;
    this.#mayHurry = state.mayHurry;
    this.#code = state.code;
    const status = state.status === "connecting" && this.#verdict ? "waiting" : state.status;
    this.#status.dataset.status = byId("chat").dataset.status = status;
    write(byId("status-word"), WORDS[status]);
    write(byId("announcer"), state.status === "open" ? "Connected." : (this.#verdict?.words ?? ""));
    this.#drawBanner(state.status);
    clearInterval(this.#ticker);
    if (state.status === "waiting") this.#ticker = setInterval(() => this.#drawBanner("waiting"), 1_000);
  }

  /** A new conversation starts without the old one's troubles. */
  reset() {
    this.#verdict = null;
    this.#queued = 0;
    clearInterval(this.#ticker);
  }

  /** @param {number|null} ms */
  roundTrip(ms) {
    write(byId("round-trip"), ms === null ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`);
  }

  /** How many messages wait for the connection. */
  queued(count) {
    this.#queued = count;
    if (!this.#banner.hidden) this.#drawBanner(this.#status.dataset.status);
  }

  #drawBanner(status) {
    const trouble = this.#verdict;
    this.#banner.hidden = !trouble;
    if (!trouble) return;
    const parts = [trouble.words];
    if (status === "waiting" && this.#retryAt) parts.push(countdown(this.#retryAt - Date.now()));
    else if (status !== "stopped") parts.push("Trying again…");
    if (this.#queued) parts.push(`${plural(this.#queued, "message waits", "messages wait")} to be sent.`);
    write(byId("banner-words"), parts.join(" "));
    this.#banner.dataset.level = status === "stopped" ? "problem" : "info";
    this.#action("hurry").hidden = status !== "waiting" || !this.#mayHurry;
    const offered = status === "stopped" ? new Set([trouble.action, "reconnect"]) : new Set();
    if (this.#code === 403 && !this.signedIn) offered.add("sign-in");
    for (const name of ["sign-in", "choose-room", "reconnect"])
      this.#action(name).hidden = !offered.has(name);
  }

  #action(name) {
    return this.#banner.querySelector(`[data-act="${name}"]`);
  }
}

function countdown(ms) {
  const seconds = Math.ceil(ms / 1_000);
  return seconds <= 1 ? "Trying again…" : `Trying again in ${plural(seconds, "second", "seconds")}.`;
}
