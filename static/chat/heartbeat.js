/**
 * Asks the server "are you there?" and times the answer.
 *
 * Any frame counts as a sign of life. The silence is measured from our own question, so a tab whose timers
 * the browser slows down never takes itself for dead.
 */
export const PING_EVERY = 10_000; // ms
const FIRST_PING = 500; // ms after the welcome: a page that is still drawing would measure itself
export const SILENCE_LIMIT = 15_000; // ms without any frame after a ping

export class Heartbeat {
  #timer = null;
  #first = null;
  #deadline = null;
  #asked = null; // {id, at} of the ping that has no answer yet
  #count = 0;

  /**
   * @param {{send: (frame: object) => void, onRoundTrip: (ms: number) => void, onSilence: () => void}} hooks
   */
  constructor(hooks) {
    this.hooks = hooks;
  }

  start() {
    this.stop();
    this.#first = setTimeout(() => this.#ask(), FIRST_PING);
    this.#timer = setInterval(() => this.#ask(), PING_EVERY);
  }

  stop() {
    clearTimeout(this.#first);
    clearInterval(this.#timer);
    clearTimeout(this.#deadline);
    this.#asked = this.#deadline = null;
  }

  /** Call for every frame that arrives; true when the frame was the answer to a ping. */
  saw(frame) {
    clearTimeout(this.#deadline);
    this.#deadline = null;
    if (frame?.type !== "pong") return false;
    if (this.#asked && frame.id === this.#asked.id) {
      this.hooks.onRoundTrip(performance.now() - this.#asked.at);
      this.#asked = null;
    }
    return true;
  }

  #ask() {
    const at = performance.now();
    this.#asked = { id: `ping-${++this.#count}`, at };
    this.hooks.send({ type: "ping", id: this.#asked.id, data: { t: Math.round(at) } });
    this.#deadline ??= setTimeout(() => this.hooks.onSilence(), SILENCE_LIMIT);
  }
}
