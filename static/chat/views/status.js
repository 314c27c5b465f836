/**
 * The state of the connection: a word and a dot in the head, the round-trip time, a banner that says what is
 * wrong and what can be done, and the same in words for a screen reader (once, not every second).
 */
import { plural } from "../text.js";
import { errorWords, troubleOf } from "../words.js";
import { byId, write } from "./dom.js";

const WORDS = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  stopped: "Disconnected",
};
const NO_PAUSE = { code: null, message: "", until: 0, outside: false };

export class StatusView {
  #status = byId("status");
  #banner = byId("banner");
  #state = { status: "connecting", why: null, retryAt: null, mayHurry: false };
  #why = null; // the last trouble, until a connection is open again
  #pause = NO_PAUSE; // of sending, over an open connection
  #queued = 0;
  #ticker = null;

  /**
   * @param {boolean} signedIn  for whoever is not, signing in may open a room that refused them
   * @param {{hurry: () => void, reconnect: () => void, "choose-room": () => void, password: () => void}} on
   */
  constructor(signedIn, on) {
    this.signedIn = signedIn;
    for (const [name, act] of Object.entries(on)) this.#action(name).addEventListener("click", act);
  }

  /** @param {import("../client.js").State} state */
  show(state) {
    this.#state = state;
    this.#why = state.status === "open" ? null : (state.why ?? this.#why);
    if (state.status !== "open") this.#pause = NO_PAUSE;
    const status = state.status === "connecting" && this.#why ? "waiting" : state.status;
    this.#status.dataset.status = byId("chat").dataset.status = status;
    write(byId("status-word"), WORDS[status]);
    write(byId("announcer"), state.status === "open" ? "Connected." : (troubleOf(this.#why)?.words ?? ""));
    this.#draw();
  }

  /** The server asks for slower writing, can't pass messages on, or lets nobody in for a while. */
  paused(pause) {
    this.#pause = pause;
    write(byId("announcer"), this.#pauseWords());
    this.#draw();
  }

  /** A new conversation starts without the old one's troubles. */
  reset() {
    this.#why = null;
    this.#pause = NO_PAUSE;
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
    if (!this.#banner.hidden) this.#draw();
  }

  /** The banner, once a second as long as something in it counts down. */
  #draw() {
    const { status, retryAt, mayHurry } = this.#state;
    const trouble = troubleOf(this.#why);
    const pausing = !trouble && this.#pause.until > Date.now();
    clearInterval(this.#ticker);
    if (pausing || status === "waiting") this.#ticker = setInterval(() => this.#draw(), 1_000);
    this.#banner.hidden = !trouble && !pausing;
    if (this.#banner.hidden) return;
    const parts = [pausing ? this.#pauseWords() : trouble.words];
    if (status === "waiting") parts.push(countdown("Trying again", retryAt - Date.now()));
    else if (status !== "stopped" && !pausing) parts.push("Trying again…");
    if (this.#queued) parts.push(`${plural(this.#queued, "message waits", "messages wait")} to be sent.`);
    write(byId("banner-words"), parts.join(" "));
    this.#banner.dataset.level = status === "stopped" ? "problem" : "info";
    this.#action("hurry").hidden = status !== "waiting" || !mayHurry;
    this.#offer(status === "stopped" ? this.#helpful(trouble.action) : new Set());
  }

  #helpful(action) {
    if (action === "password") return new Set([action, "choose-room"]);
    const also = this.#why.status === 403 && !this.signedIn ? ["sign-in"] : [];
    return new Set([action, "reconnect", ...also]);
  }

  #offer(actions) {
    for (const name of ["sign-in", "choose-room", "password", "reconnect"])
      this.#action(name).hidden = !actions.has(name);
  }

  #pauseWords() {
    const { code, message, until, outside } = this.#pause;
    const words = errorWords({ code: outside ? null : code, message });
    return `${words} ${countdown(outside ? "Trying again" : "Sending goes on", until - Date.now())}`;
  }

  #action(name) {
    return this.#banner.querySelector(`[data-act="${name}"]`);
  }
}

function countdown(what, ms) {
  const seconds = Math.ceil(ms / 1_000);
  return seconds <= 1 ? `${what}…` : `${what} in ${plural(seconds, "second", "seconds")}.`;
}
