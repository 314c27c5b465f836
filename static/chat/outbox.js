/**
 * Own messages between the composer and the server: queued while there is no connection (bounded), sending
 * until the server says `ack` or `error`, and never lost silently: what a broken connection took with it is
 * marked, with a way to send it again.
 */
export const QUEUE_LIMIT = 20; // messages written while disconnected
const HELD_LIMIT = 100; // messages queued, under way or failed
const RETURN_LIMIT = 5_000; // ms after its `ack` that a message waits for its return, which may be dropped

export class Outbox {
  #timeline;
  #send;
  /** ref → {author, verified, text, status: "queued" | "sending" | "acknowledged" | "failed"} */
  #waiting = new Map();

  /**
   * @param {import("./timeline.js").Timeline} timeline
   * @param {(ref: string, text: string) => boolean} send  false when there is no open connection
   */
  constructor(timeline, send) {
    this.#timeline = timeline;
    this.#send = send;
  }

  get queued() {
    return [...this.#waiting.values()].filter(({ status }) => status === "queued").length;
  }

  get full() {
    return this.queued >= QUEUE_LIMIT || this.#waiting.size >= HELD_LIMIT;
  }

  /** Sends a message, or queues it. @param {{author: string, verified: boolean, text: string}} message */
  add({ author, verified, text }) {
    const ref = crypto.randomUUID?.() ?? `m-${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const status = this.#send(ref, text) ? "sending" : "queued";
    this.#waiting.set(ref, { text, author, verified, status });
    const place = { own: true, speaker: "me", toEveryone: false, at: new Date(), problem: null };
    this.#timeline.addPending(ref, { author, verified, text, status, ...place });
  }

  /** A connection is open: everything that was queued goes out, in order. */
  flush() {
    for (const [ref, entry] of this.#waiting) {
      if (entry.status !== "queued") continue;
      if (!this.#send(ref, entry.text)) return;
      entry.status = "sending";
      this.#timeline.change(ref, { status: "sending" });
    }
  }

  /** The connection is gone: what was acknowledged is safe, of the rest under way nobody knows. */
  connectionLost() {
    for (const [ref, { status }] of [...this.#waiting]) {
      if (status === "acknowledged") this.returned(ref);
      if (status === "sending")
        this.failed(ref, "The connection broke before the server confirmed this message.");
    }
  }

  /** The server took the message (`ack`). It keeps its place at the end until it comes back. */
  acknowledged(ref) {
    this.#timeline.change(ref, { status: "sent" });
    this.#mark(ref, "acknowledged");
    setTimeout(() => this.returned(ref), RETURN_LIMIT);
  }

  /** The server sent the message back: it has its place in the room's order now, and the server's time. */
  returned(ref, at = null) {
    this.#waiting.delete(ref);
    this.#timeline.settle(ref, { status: "sent", problem: null, ...(at && { at }) });
  }

  /** @returns {boolean} false when `ref` is not one of ours */
  failed(ref, problem) {
    if (!this.#timeline.isPending(ref)) return false;
    this.#mark(ref, "failed");
    this.#timeline.change(ref, { status: "failed", problem });
    return true;
  }

  /** Sends a failed message again, as a new one at the end. */
  retry(ref) {
    const entry = this.#waiting.get(ref);
    if (!entry) return;
    this.discard(ref);
    this.add(entry);
  }

  discard(ref) {
    this.#waiting.delete(ref);
    this.#timeline.remove(ref);
  }

  clear() {
    this.#waiting.clear();
  }

  #mark(ref, status) {
    const entry = this.#waiting.get(ref);
    if (entry) entry.status = status;
  }
}
