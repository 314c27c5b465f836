/**
 * Own messages as the log shows them, from the composer until the server has sent them back. The client
 * queues and sends them; here they get their place, their state, and a way out when they fail.
 */
import { errorWords } from "./words.js";

const HELD_LIMIT = 100; // messages queued, under way or failed
const RETURN_LIMIT = 5_000; // ms after its `ack` that a message waits for its return, which may be dropped
const SHOWN = { queued: "queued", sent: "sending", accepted: "sent", failed: "failed" }; // delivery → item

export class Outbox {
  #timeline;
  #client;
  /** ref → {author, verified, text, problem, status: "queued" | "sent" | "accepted" | "failed"} */
  #waiting = new Map();

  /**
   * @param {import("./timeline.js").Timeline} timeline
   * @param {{send: (ref: string, text: string) => boolean, discard: (ref: string) => void}} client
   *   `send` is false when too many wait
   */
  constructor(timeline, client) {
    this.#timeline = timeline;
    this.#client = client;
  }

  get queued() {
    return [...this.#waiting.values()].filter(({ status }) => status === "queued").length;
  }

  /**
   * @param {{author: string, verified: boolean, text: string}} message
   * @returns {boolean} false when too many are waiting: the message was not taken
   */
  add({ author, verified, text }) {
    if (this.#waiting.size >= HELD_LIMIT) return false;
    const ref = crypto.randomUUID?.() ?? `m-${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const entry = { text, author, verified, status: "queued", problem: null };
    this.#waiting.set(ref, entry);
    if (!this.#client.send(ref, text)) return !this.#waiting.delete(ref);
    const place = { own: true, speaker: "me", toEveryone: false, at: new Date() };
    this.#timeline.addPending(ref, { ...entry, ...place, status: SHOWN[entry.status] });
    return true;
  }

  /** What became of a message. @param {import("./client.js").Delivery} delivery */
  delivered({ id, status, code, message }) {
    const entry = this.#waiting.get(id);
    if (!entry) return;
    entry.status = status;
    entry.problem = status === "failed" ? errorWords({ code, message }) : null;
    this.#timeline.change(id, { status: SHOWN[status], problem: entry.problem });
    // It keeps its place at the end until it comes back.
    if (status === "accepted") setTimeout(() => this.returned(id), RETURN_LIMIT);
  }

  /** The connection is gone: what was accepted is safe, though it may not come back any more. */
  connectionLost() {
    for (const [ref, { status }] of [...this.#waiting]) if (status === "accepted") this.returned(ref);
  }

  /** The server sent the message back: it has its place in the room's order now, and the server's time. */
  returned(ref, at = null) {
    this.#waiting.delete(ref);
    this.#timeline.settle(ref, { status: "sent", problem: null, ...(at && { at }) });
  }

  /** Sends a failed message again, as a new one at the end. */
  retry(ref) {
    const entry = this.#waiting.get(ref);
    if (entry && this.add(entry)) this.#forget(ref);
  }

  discard(ref) {
    this.#client.discard(ref);
    this.#forget(ref);
  }

  clear() {
    this.#waiting.clear();
  }

  #forget(ref) {
    this.#waiting.delete(ref);
    this.#timeline.remove(ref);
  }
}
