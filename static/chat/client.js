/**
 * One conversation's connection to the server: it opens, is kept alive, and comes back.
 *
 * The life of a connection:
 *   1. open() dials; the first frame, `welcome`, makes it "open".
 *   2. Pings go out every 10 s; silence ends the socket as if the network had.
 *   3. When a socket that was open closes, the close code says whether to come back (policy.js).
 *   4. When a handshake fails, a browser can't see why, so the client asks with a plain GET on the same
 *      path: the answer's status and JSON say whether to stop, to wait, or that all is well.
 *   5. Waiting is exponential backoff with full jitter, and never less than what the server asked for.
 *
 * Events: `state` with a {@link State}, `frame` with a decoded envelope, `roundtrip` with milliseconds.
 *
 * @typedef {object} State
 * @property {"connecting"|"open"|"waiting"|"stopped"} status
 * @property {number|null} retryAt  when "waiting": ms since the epoch
 * @property {boolean} mayHurry     when "waiting": the wait is our own, not what the server asked for
 * @property {import("./policy.js").Verdict|null} verdict  why it is waiting or stopped
 * @property {number|null} code     close code or refusal status behind the verdict
 */
import { Emitter } from "./emitter.js";
import { Heartbeat } from "./heartbeat.js";
import { backoffDelay, closeVerdict, LONGEST_WAIT, refusalVerdict } from "./policy.js";

const HANDSHAKE_LIMIT = 15_000; // ms until a handshake without an answer counts as failed
const QUESTION_LIMIT = 8_000; // ms for the GET that asks why
const SETTLED_AFTER = 5_000; // ms open before earlier failures are forgotten

export class ChatClient extends Emitter {
  #url;
  #socket = null;
  #generation = 0; // events of a socket or question that was given up carry an older number
  #attempt = 0;
  #notBefore = 0; // ms since the epoch: the server asked not to be called earlier
  #timers = { handshake: null, retry: null, settled: null };
  #heartbeat = new Heartbeat({
    send: (frame) => this.send(frame),
    onRoundTrip: (ms) => this.emit("roundtrip", ms),
    onSilence: () => this.#lost(1006, ""),
  });

  /** @type {State} */
  state = { status: "stopped", retryAt: null, mayHurry: false, verdict: null, code: null };

  /** @param {string} url  ws: or wss: address, query included */
  constructor(url) {
    super();
    this.#url = url;
  }

  open() {
    this.#abandon();
    const generation = ++this.#generation;
    this.#become("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    const current = () => generation === this.#generation;
    socket.onmessage = (event) => current() && this.#received(event.data);
    socket.onclose = (event) => current() && this.#closed(event.code, event.reason);
    this.#timers.handshake = setTimeout(() => this.#closed(1006, ""), HANDSHAKE_LIMIT);
  }

  /** For good: it does not come back until open(). */
  close() {
    this.#abandon();
    this.#become("stopped");
  }

  /** "Try now", or the browser is online again. A wait that the server asked for holds. */
  hurry() {
    if (this.state.status === "waiting" && Date.now() >= this.#notBefore) this.open();
  }

  /** @returns {boolean} false when there is no open connection; the frame was not sent */
  send(frame) {
    if (this.state.status !== "open" || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #received(text) {
    const frame = decode(text);
    if (!frame) return;
    if (frame.type === "system" && frame.data?.event === "welcome") this.#welcomed();
    if (frame.type === "error" && Number.isFinite(frame.data?.retry_after))
      this.#holdOff(frame.data.retry_after * 1_000);
    if (!this.#heartbeat.saw(frame)) this.emit("frame", frame);
  }

  #welcomed() {
    clearTimeout(this.#timers.handshake);
    this.#become("open");
    this.#heartbeat.start();
    this.#timers.settled = setTimeout(() => (this.#attempt = 0), SETTLED_AFTER);
  }

  #closed(code, reason) {
    if (this.state.status === "open" || code !== 1006) this.#lost(code, reason);
    else this.#askWhy();
  }

  #lost(code, reason) {
    this.#abandon();
    this.#settle(closeVerdict(code, reason), code);
  }

  /** Step 4. `generation` guards against a close() or open() while the answer is under way. */
  async #askWhy() {
    this.#abandon();
    const generation = this.#generation;
    const answer = await question(this.#url);
    if (generation === this.#generation) this.#settle(refusalVerdict(answer, Date.now()), answer.status);
  }

  #settle(verdict, code) {
    if (!verdict.retry) {
      this.#become("stopped", { verdict, code });
      return;
    }
    this.#holdOff(verdict.delay);
    const jitter = backoffDelay(this.#attempt++);
    const held = Math.max(0, this.#notBefore - Date.now());
    const wait = held + jitter; // the jitter comes on top: everybody was told the same Retry-After
    this.#timers.retry = setTimeout(() => this.open(), wait);
    this.#become("waiting", { verdict, code, retryAt: Date.now() + wait, mayHurry: held === 0 });
  }

  #holdOff(ms) {
    this.#notBefore = Math.max(this.#notBefore, Date.now() + Math.min(Math.max(ms, 0), LONGEST_WAIT));
  }

  /** Lets go of the socket and of every timer; nothing that they still do is heard. */
  #abandon() {
    this.#generation++;
    this.#heartbeat.stop();
    for (const name of Object.keys(this.#timers)) clearTimeout(this.#timers[name]);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  #become(status, { verdict = null, code = null, retryAt = null, mayHurry = false } = {}) {
    this.state = { status, verdict, code, retryAt, mayHurry };
    this.emit("state", this.state);
  }
}

function decode(text) {
  try {
    const frame = JSON.parse(text);
    return frame !== null && typeof frame === "object" && typeof frame.type === "string" ? frame : null;
  } catch {
    return null; // not one of our server's envelopes; the next one may be
  }
}

/** The plain GET of step 4. Status 0 when nothing answers in time. */
async function question(socketUrl) {
  const url = socketUrl.replace(/^ws/, "http");
  try {
    const response = await fetch(url, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(QUESTION_LIMIT),
    });
    const body = await response.json().catch(() => null);
    return {
      status: response.status,
      error: body?.error ?? null,
      retryAfter: response.headers.get("Retry-After"),
    };
  } catch {
    return { status: 0, error: null, retryAfter: null };
  }
}
