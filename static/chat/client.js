/**
 * A connection to the chat that stays: one file without dependencies. docs/client.md tells how to use it.
 *
 * Its life:
 *   1. open() dials. The first frame, `welcome`, makes it "open": rooms are joined again, the queue goes out.
 *   2. It pings; when nothing at all comes back, the line is half-open, and counts as broken.
 *   3. A close code says whether to come back (comesBack).
 *   4. Why a handshake failed a browser does not tell. So the client asks the same address with a plain GET:
 *      the answer is what the handshake was refused with, or 426 when it would be accepted now.
 *   5. Waits grow exponentially with full jitter, on top of what the server asked for (`Retry-After`,
 *      `retry_after`). While nobody looks or the network is away they are long, and end when that ends.
 *
 * @typedef {object} State
 * @property {"connecting"|"open"|"waiting"|"stopped"} status
 * @property {number} attempt        attempts that failed since a connection was last stable
 * @property {Why|null} why          what ended or refused the last connection
 * @property {number|null} retryAt   when "waiting": the next attempt, ms since the epoch
 * @property {boolean} mayHurry      when "waiting": hurry() is allowed, as the server asked for no wait
 *
 * @typedef {object} Why
 * @property {"closed"|"silent"|"refused"|"unreachable"|"invalid"} kind
 * @property {number|null} status    close code, or HTTP status of a refused handshake
 * @property {string|null} code      a refusal's code, such as `room_full`
 * @property {string} message        the server's words, may be empty; for a log, or for people as plain text
 *
 * @typedef {object} Delivery        what became of a message that was given to send()
 * @property {string} id
 * @property {"queued"|"sent"|"accepted"|"failed"} status
 * @property {string|null} code      when "failed": an error's code, `unconfirmed`, `dropped` or `too_big`
 * @property {string} message
 * @property {object} envelope       the message itself
 */

/** All times in ms. */
export const DEFAULTS = {
  protocols: [], // subprotocols to offer; or a function, asked at each attempt, that may return a promise
  welcome: true, // false: open as soon as the socket is, for consumers that send no `welcome`
  maxQueue: 100, // messages that wait to be sent
  overflow: "refuse", // beyond that: "refuse" the new message, or "drop_oldest"
  handshakeTimeout: 15_000, // until a handshake without an answer counts as failed
  questionTimeout: 8_000, // for the GET that asks why
  backoff: {
    base: 1_000, // the n-th wait is random between 0 and base * factor ** n,
    factor: 2,
    cap: 30_000, // or this
    stable: 5_000, // open for this long: earlier failures are forgotten
    idle: 60_000, // added after a failed attempt while the page is hidden, and while the network is away
    longest: 600_000, // no server may send a client away for longer
    attempts: Infinity, // failures in a row after which it gives up
  },
  heartbeat: {
    first: 500, // after the welcome; a page that still draws would measure itself
    interval: 10_000, // between pings; 0: none
    timeout: 15_000, // without any frame after a ping
    probe: 5_000, // the same, after the page was hidden or the network away
  },
  random: Math.random, // 0 to 1, for the jitter
};

const WINDOW = 64; // messages under way without an answer; 1 after a refusal, and doubled by each answer
const DEFAULT_MAX_BYTES = 65_536; // of one message, until the welcome says it
const COME_BACK = new Set([1001, 1005, 1006, 1011, 1012, 1013, 1014]);
const STATE_EVENTS = { connecting: "connecting", open: "open", waiting: "reconnecting", stopped: "gave_up" };
const OTHER_EVENTS = ["close", "message", "error", "drain", "delivery", "paused", "roundtrip"];
const STOPPED = { status: "stopped", attempt: 0, why: null, retryAt: null, mayHurry: false };
/** The names of all events. */
export const EVENTS = new Set([...Object.values(STATE_EVENTS), ...OTHER_EVENTS]);

// --- when to come back: values in, values out ----------------------------------------------------------

/** Codes below 3000 are RFC 6455's, 3000–3999 others'; of ours, 4000–4499 come back, 4500–4999 don't. */
export function comesBack(code) {
  return COME_BACK.has(code) || (code >= 4000 && code <= 4499);
}

/** Exponential backoff with full jitter: 0 to the ceiling, so that a crowd does not return at once. */
export function backoffDelay(attempt, backoff = {}, random = Math.random) {
  const { base, factor, cap } = { ...DEFAULTS.backoff, ...backoff };
  return Math.round(random() * Math.min(cap, base * factor ** attempt));
}

/** Retry-After as ms from `now`: seconds or an HTTP date, else 0. */
export function retryAfterMs(header, now) {
  if (!header) return 0;
  const wait = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isFinite(wait) ? Math.max(wait, 0) : 0;
}

/**
 * What the answer to the plain GET says. A status that a WebSocket's path does not have (a proxy's page, say)
 * proves nothing, so the client tries again.
 *
 * @param {{status: number, retryAfter: string|null}} answer  status 0: nothing answered
 * @returns {{retry: boolean, delay: number}}
 */
export function answerVerdict({ status, retryAfter }, now) {
  const mayChange = status < 400 || status === 408 || status === 426 || status === 429 || status >= 500;
  return { retry: mayChange, delay: mayChange ? retryAfterMs(retryAfter, now) : 0 };
}

// --- the client ----------------------------------------------------------------------------------------

/** A request that was refused, or never confirmed. */
export class ChatError extends Error {
  /** @param {{code: string, message?: string, retry_after?: number}} data  of an `error` envelope */
  constructor({ code, message, retry_after = null }) {
    super(message || code);
    this.name = "ChatError";
    this.code = code;
    this.retryAfter = retry_after; // seconds, or null
  }
}

export class ChatClient {
  #address;
  #options;
  #listeners = new Map();
  #socket = null;
  #protocols = []; // that were offered at the last attempt
  #generation = 0; // what a socket or question that was given up still says carries an older number
  #timers = {};
  #attempt = 0;
  #refusals = 0; // of messages, in a row
  #notBefore = 0; // ms since the epoch: the server asked not to be called earlier
  #rooms = new Map(); // beside the endpoint's own → {data, id of the `join`, resolve, reject}
  #outbox = new Map(); // id → {envelope, ack, sent, resolve, reject}, in the order of sending
  #window = WINDOW;
  #heartbeat;
  #watch = null;

  /** @type {State} */
  state = STOPPED;
  /** @type {object|null} the last welcome's data: `client_id`, `user`, `limits`, ... */
  welcome = null;

  /**
   * @param {string|URL} url      ws:, wss:, http: or https:, query included; may be relative to the page
   * @param {Partial<typeof DEFAULTS>} [options]
   */
  constructor(url, options = {}) {
    this.#address = new URL(url, globalThis.location?.href);
    this.#address.protocol = this.#address.protocol.replace(/^http/, "ws");
    this.#options = merged(DEFAULTS, options);
    this.#heartbeat = new Heartbeat(this.#options.heartbeat, {
      send: (envelope) => this.#transmit(envelope),
      onRoundTrip: (ms) => this.#emit("roundtrip", ms),
      onSilence: () => this.#lost("silent", 1006, ""),
    });
  }

  /**
   * `connecting`, `open`, `reconnecting` and `gave_up` come with the {@link State}, `message` with an
   * envelope, `close` with {code, reason}, `error` with an error's data, `delivery` with a {@link Delivery},
   * `paused` with {code, message, until}, `roundtrip` with ms, `drain` with nothing.
   *
   * @returns {() => void} call it to stop listening
   */
  on(name, listener) {
    if (!EVENTS.has(name)) throw new TypeError(`ChatClient has no event "${name}"`);
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** Connects, and stays connected until close() or `gave_up`. After those it may be called again. */
  open() {
    this.#watchPage();
    this.#dial();
    return this;
  }

  /** For good. What waits to be sent stays, for another open(). */
  close() {
    this.#watch?.abort();
    this.state = STOPPED;
    this.#letGo();
  }

  /** "Try now": ends a wait, unless the server asked for it. */
  hurry() {
    if (this.state.status === "waiting" && Date.now() >= this.#notBefore) this.#dial();
  }

  /**
   * Sends a message, now or when that is possible; `delivery` events tell what becomes of it.
   *
   * @param {object} envelope  `type`, and as the type wants them `data`, `room`, `id`
   * @param {{ack?: boolean}} [options]  ack false: the server answers nothing to this type, so sent is done
   * @returns {string|null} its id; null when the queue is full and refuses it
   */
  send(envelope, { ack = true, ...settle } = {}) {
    const id = envelope.id ?? newId();
    if (this.#outbox.has(id)) throw new TypeError(`A message with the id "${id}" is under way`);
    const entry = { envelope: { ...envelope, id }, ack, sent: false, ...settle };
    this.#outbox.set(id, entry);
    this.#flush();
    const waiting = this.#waiting();
    if (!waiting.includes(entry)) return id;
    if (waiting.length > this.#options.maxQueue) {
      if (this.#options.overflow === "refuse") return this.#outbox.delete(id) && null;
      this.#fail(waiting[0], { code: "dropped", message: "Newer messages took its place." });
    }
    this.#tell(entry, "queued");
    return id;
  }

  /** send() whose promise is the answer's data; rejected with a {@link ChatError}. */
  request(envelope) {
    return new Promise((resolve, reject) => {
      if (this.send(envelope, { resolve, reject }) === null)
        reject(new ChatError({ code: "dropped", message: "Too many messages wait." }));
    });
  }

  /** Says something: to a joined room, to the endpoint's own, or to everybody where it has none. */
  say(content, room) {
    return this.send({ type: "chat", data: { content }, ...(room !== undefined && { room }) });
  }

  /** Takes back a message that still waits. @returns {boolean} false when it is on its way already */
  discard(id) {
    const entry = this.#outbox.get(id);
    return Boolean(entry && !entry.sent && this.#outbox.delete(id));
  }

  /** Messages that wait to be sent. */
  get queued() {
    return this.#waiting().length;
  }

  /** Rooms that were joined, or will be as soon as there is a connection. */
  get rooms() {
    return [...this.#rooms.keys()];
  }

  /**
   * Joins one more room, and again after each reconnect, until leave() or a refusal.
   *
   * @param {string} room
   * @param {object} [data]  of the `join`: `password`, `members`
   * @returns {Promise<object>} data of the `joined`; rejected with a {@link ChatError}
   */
  join(room, data = {}) {
    this.#rooms.get(room)?.reject(new ChatError({ code: "replaced", message: "Joined again." }));
    const entry = { data, id: null };
    const done = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    done.catch(() => {}); // whoever does not wait for it is told by `error`
    this.#rooms.set(room, entry);
    this.#flush();
    return done;
  }

  leave(room) {
    const entry = this.#rooms.get(room);
    if (!entry) return;
    this.#rooms.delete(room);
    entry.reject(new ChatError({ code: "left", message: "Left before it was joined." }));
    if (entry.id !== null) this.#transmit({ type: "leave", room, id: newId() });
  }

  // --- connecting --------------------------------------------------------------------------------------

  async #dial() {
    const generation = this.#letGo();
    const current = () => generation === this.#generation;
    if (current()) this.#become("connecting", { why: this.state.why });
    if (!current()) return;
    this.#timers.handshake = setTimeout(() => this.#askWhy(), this.#options.handshakeTimeout);
    let protocols = this.#options.protocols;
    try {
      if (typeof protocols === "function") protocols = await protocols();
    } catch (error) {
      if (current()) this.#settle({ retry: true, delay: 0 }, why("unreachable", null, null, String(error)));
      return;
    }
    if (!current()) return;
    if (this.welcome?.client_id) this.#address.searchParams.set("previous", this.welcome.client_id);
    try {
      this.#socket = new WebSocket(this.#address.href, protocols);
    } catch (error) {
      this.#settle({ retry: false }, why("invalid", null, null, String(error)));
      return;
    }
    this.#protocols = protocols;
    if (!this.#options.welcome) this.#socket.onopen = () => current() && this.#opened(null);
    this.#socket.onmessage = (event) => current() && this.#received(event.data);
    this.#socket.onclose = ({ code, reason }) => {
      if (!current()) return;
      if (this.state.status === "open" || code !== 1006) this.#lost("closed", code, reason);
      else this.#askWhy();
    };
  }

  #opened(welcome) {
    clearTimeout(this.#timers.handshake);
    this.welcome = welcome;
    this.#heartbeat.start();
    this.#timers.stable = setTimeout(() => (this.#attempt = 0), this.#options.backoff.stable);
    this.#become("open");
    if (!welcome) this.#flush();
  }

  #lost(kind, code, reason) {
    const wasOpen = this.state.status === "open";
    const generation = this.#letGo();
    if (wasOpen) this.#emit("close", { code, reason });
    if (generation !== this.#generation) return; // a listener has called open() or close()
    this.#settle({ retry: comesBack(code), delay: 0 }, why(kind, code, null, reason));
  }

  /** Step 4. */
  async #askWhy() {
    const generation = this.#letGo();
    const answer = await question(this.#address, this.#protocols, this.#options.questionTimeout);
    if (generation !== this.#generation) return; // open() or close() came while the answer was under way
    const { status, error } = answer;
    const reason = why(status ? "refused" : "unreachable", status || null, error?.code, error?.message);
    this.#settle(answerVerdict(answer, Date.now()), reason);
  }

  #settle({ retry, delay }, reason) {
    const { backoff, random } = this.#options;
    clearTimeout(this.#timers.handshake);
    if (!retry || this.#attempt >= backoff.attempts) {
      this.#watch?.abort();
      const gaveUp = new ChatError({ code: "gave_up", message: reason.message });
      for (const entry of this.#rooms.values()) entry.reject(gaveUp);
      this.#become("stopped", { why: reason });
      return;
    }
    this.#holdOff(delay);
    const idle = isOffline() || (isHidden() && this.#attempt > 0) ? backoff.idle : 0;
    this.#wait(idle + backoffDelay(this.#attempt++, backoff, random), reason);
  }

  /** Dials after `ms`, which come on top of what the server asked for: it told everybody the same. */
  #wait(ms, reason) {
    const held = Math.max(0, this.#notBefore - Date.now());
    clearTimeout(this.#timers.retry);
    this.#timers.retry = setTimeout(() => this.#dial(), held + ms);
    this.#become("waiting", { why: reason, retryAt: Date.now() + held + ms, mayHurry: held === 0 });
  }

  #holdOff(ms) {
    this.#notBefore = Math.max(this.#notBefore, Date.now() + Math.min(ms, this.#options.backoff.longest));
  }

  /** Lets go of the socket and of every timer: nothing that they still do is heard. @returns the generation */
  #letGo() {
    const generation = ++this.#generation;
    this.#heartbeat.stop();
    for (const name of Object.keys(this.#timers)) clearTimeout(this.#timers[name]);
    this.#timers = {};
    this.#socket?.close(1000);
    this.#socket = null;
    for (const entry of this.#rooms.values()) entry.id = null;
    const unconfirmed = { code: "unconfirmed", message: "The connection broke before the server answered." };
    for (const entry of [...this.#outbox.values()]) if (entry.sent) this.#fail(entry, unconfirmed);
    return generation;
  }

  /** Somebody looks at the page again, or the network came or went: no more waiting, and no trust in the line. */
  #watchPage() {
    this.#watch?.abort();
    this.#watch = new AbortController();
    const { signal } = this.#watch;
    const listen = (target, name, listener) => target?.addEventListener?.(name, listener, { signal });
    listen(globalThis.document, "visibilitychange", () => isHidden() || this.#wake());
    // `persisted`: the page comes out of the back/forward cache.
    listen(globalThis, "pageshow", ({ persisted }) => persisted && this.#wake());
    for (const name of ["online", "offline"]) listen(globalThis, name, () => this.#wake());
  }

  #wake() {
    const { backoff, random } = this.#options;
    if (this.state.status === "open") this.#heartbeat.probe();
    else if (this.state.status !== "waiting" || isOffline()) return;
    else if (Date.now() >= this.#notBefore) this.#dial();
    else this.#wait(backoffDelay(0, backoff, random), this.state.why);
  }

  // --- messages ----------------------------------------------------------------------------------------

  #received(text) {
    const envelope = decode(text);
    if (!envelope || this.#heartbeat.saw(envelope)) return;
    const { type, id, room, data } = envelope;
    if (type === "ping") {
      this.#transmit({ type: "pong", id, data });
      return;
    }
    if (type === "system" && data?.event === "welcome") this.#opened(data);
    if (type === "system" && data?.event === "joined") this.#rooms.get(room)?.resolve(data);
    if (type === "system" && data?.event === "left") this.#left(room, data);
    if (type === "system" && data?.event === "draining") this.#emit("drain");
    if (type === "ack") this.#accepted(data?.ref, data);
    if (type === "reply" || type === "stream.start") this.#accepted(id, data);
    if (type === "error") this.#refused(data ?? {});
    this.#emit("message", envelope);
    this.#flush();
  }

  /** Joins what is to be joined, then sends what waits: as much as the window allows. */
  #flush() {
    if (this.#socket?.readyState !== WebSocket.OPEN || this.state.status !== "open") return;
    if (this.#timers.pause) return;
    for (const [room, entry] of this.#rooms) {
      if (entry.id !== null) continue;
      entry.id = newId();
      this.#transmit({ type: "join", room, id: entry.id, data: entry.data });
    }
    let entry;
    while ((entry = this.#next())) {
      entry.sent = true;
      const tooBig = isTooBig(entry.envelope, this.welcome?.limits?.max_message_bytes);
      if (tooBig) this.#fail(entry, { code: "too_big", message: "The message is too big." });
      else this.#transmit(entry.envelope);
      if (!entry.ack) this.#outbox.delete(entry.envelope.id);
      if (!tooBig) this.#tell(entry, "sent");
    }
  }

  /** The message to send now, unless the window is full. */
  #next() {
    const waiting = this.#waiting();
    return this.#outbox.size - waiting.length < this.#window ? waiting[0] : undefined;
  }

  #transmit(envelope) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(envelope));
  }

  #accepted(id, data) {
    const entry = this.#outbox.get(id);
    this.#window = Math.min(WINDOW, this.#window * 2);
    this.#refusals = 0;
    if (!entry) return;
    this.#outbox.delete(id);
    this.#tell(entry, "accepted");
    entry.resolve?.(data);
  }

  /** An `error`. With `retry_after` the same may pass later: it is kept and sent again, one message first. */
  #refused(data) {
    const entry = this.#outbox.get(data.ref);
    const [room, join] = [...this.#rooms].find(([, { id }]) => id !== null && id === data.ref) ?? [];
    const later = Number.isFinite(data.retry_after);
    if (later) {
      this.#holdOff(data.retry_after * 1_000);
      this.#pause(data);
    }
    if (later && join) join.id = null;
    else if (join) {
      this.#rooms.delete(room);
      join.reject(new ChatError(data));
    }
    if (later && entry) {
      entry.sent = false;
      this.#tell(entry, "queued");
    } else if (entry) this.#fail(entry, data);
    this.#emit("error", data);
  }

  #pause({ code, message = "", retry_after: seconds }) {
    this.#window = 1;
    if (this.#timers.pause) return; // those that were under way with the first one
    const { backoff, random } = this.#options;
    const asked = Math.min(seconds * 1_000, backoff.longest);
    const wait = asked + backoffDelay(this.#refusals++, backoff, random);
    this.#timers.pause = setTimeout(() => {
      this.#timers.pause = null;
      this.#flush();
    }, wait);
    this.#emit("paused", { code, message, until: Date.now() + wait });
  }

  /** Out of a room: left, or put out. Where its rules could not be checked, it may be joined again. */
  #left(room, { reason }) {
    const entry = this.#rooms.get(room);
    if (!entry) return;
    if (reason === "unavailable") {
      entry.id = null;
      this.#pause({ code: reason, retry_after: 1 });
    } else this.#rooms.delete(room);
  }

  #fail(entry, { code, message = "", retry_after }) {
    this.#outbox.delete(entry.envelope.id);
    this.#tell(entry, "failed", code, message);
    entry.reject?.(new ChatError({ code, message, retry_after }));
  }

  #waiting() {
    return [...this.#outbox.values()].filter(({ sent }) => !sent);
  }

  // --- telling -----------------------------------------------------------------------------------------

  #tell({ envelope }, status, code = null, message = "") {
    this.#emit("delivery", { id: envelope.id, status, code, message, envelope });
  }

  #become(status, { why = null, retryAt = null, mayHurry = false } = {}) {
    this.state = { status, attempt: this.#attempt, why, retryAt, mayHurry };
    this.#emit(STATE_EVENTS[status], this.state);
  }

  /** A listener that throws must not cost the connection: it is reported, and the others are called. */
  #emit(name, detail) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        console.error(error);
      }
    }
  }
}

/**
 * Asks the server "are you there?" and times the answer. Any frame counts as a sign of life. The silence is
 * measured from our own question, so a tab whose timers the browser slows down never takes itself for dead.
 */
class Heartbeat {
  #asked = null; // {id, at} of the last ping, until it is answered
  #deadline = null;
  #count = 0;

  constructor(options, hooks) {
    this.options = options;
    this.hooks = hooks;
  }

  start() {
    this.stop();
    if (!this.options.interval) return;
    this.first = setTimeout(() => this.#ask(this.options.timeout), this.options.first);
    this.timer = setInterval(() => this.#ask(this.options.timeout), this.options.interval);
  }

  stop() {
    clearTimeout(this.first);
    clearInterval(this.timer);
    this.#alive();
    this.#asked = null;
  }

  /** Asks now, and is less patient: the machine may have slept. */
  probe() {
    if (!this.options.interval) return;
    this.#alive();
    this.#ask(this.options.probe);
  }

  /** Call for every frame; true when it was the answer to a ping of ours. */
  saw({ type, id }) {
    this.#alive();
    if (type !== "pong" || id !== this.#asked?.id) return type === "pong";
    this.hooks.onRoundTrip(performance.now() - this.#asked.at);
    this.#asked = null;
    return true;
  }

  #alive() {
    clearTimeout(this.#deadline);
    this.#deadline = null;
  }

  #ask(patience) {
    this.#asked = { id: `ping-${++this.#count}`, at: performance.now() };
    this.hooks.send({ type: "ping", id: this.#asked.id });
    this.#deadline ??= setTimeout(() => this.hooks.onSilence(), patience);
  }
}

const isHidden = () => globalThis.document?.hidden === true;
const isOffline = () => globalThis.navigator?.onLine === false;
const newId = () => crypto.randomUUID?.() ?? `m-${Date.now()}-${Math.random().toString(36).slice(2)}`;

function why(kind, status, code, message) {
  return { kind, status, code: code ?? null, message: typeof message === "string" ? message : "" };
}

/** Options over defaults, also one level down; a misspelt name is an error. */
function merged(defaults, options) {
  const unknown = Object.keys(options).find((name) => !(name in defaults));
  if (unknown) throw new TypeError(`ChatClient has no option "${unknown}"`);
  const whole = { ...defaults, ...options };
  for (const name of ["backoff", "heartbeat"])
    if (name in defaults) whole[name] = merged(defaults[name], options[name] ?? {});
  return whole;
}

function decode(text) {
  try {
    const envelope = JSON.parse(text);
    return typeof envelope?.type === "string" ? envelope : null;
  } catch {
    return null; // not one of our server's envelopes; the next one may be
  }
}

function isTooBig(envelope, limit = DEFAULT_MAX_BYTES) {
  const text = JSON.stringify(envelope);
  return text.length * 3 > limit && new TextEncoder().encode(text).length > limit;
}

/** The plain GET of step 4, with the handshake's credentials. Status 0: nothing answered in time. */
async function question(address, protocols, timeout) {
  const token = [protocols].flat().find((name) => name.startsWith("bearer."))?.slice("bearer.".length);
  try {
    const response = await fetch(address.href.replace(/^ws/, "http"), {
      headers: { Accept: "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
      credentials: "include",
      cache: "no-store",
      signal: AbortSignal.timeout(timeout),
    });
    const error = (await response.json().catch(() => null))?.error ?? null;
    return { status: response.status, error, retryAfter: response.headers.get("Retry-After") };
  } catch {
    return { status: 0, error: null, retryAfter: null };
  }
}
