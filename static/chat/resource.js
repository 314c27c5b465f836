/**
 * Rows of a resource as they are now: a subscription at `/api/resources/ws` that begins with a snapshot.
 * docs/resources.md has the messages; client.js keeps the connection.
 *
 * While the connection is away the rows stay as they were last known. Back again, a new snapshot takes their
 * place in one go, so nobody sees them vanish and return.
 *
 * Events: `change`, when `rows` are others than before.
 */
import { backoffDelay, ChatClient } from "./client.js";
import { Emitter } from "./emitter.js";

const PING_EVERY = 30_000; // ms; nobody waits for a row as for the answer to a message

// A subscription refused with one of these may be granted later. The others say that there is none for us.
const MAY_PASS = new Set(["rate_limited", "unavailable", "internal", "read_error"]);

export class LiveRows extends Emitter {
  #client;
  #wanted; // what to subscribe to
  #following = false; // between open() and close()
  #question = null; // id of the `subscribe` that has no answer yet
  #subscription = null; // id that the server gave
  #refusals = 0; // in a row
  #retry = null;

  /** @type {Map<string, object>|null} by primary key; null: none are known, or they are not for us */
  rows = null;

  /**
   * @param {string} address  of the endpoint
   * @param {{schema: string, entity: string, sort?: {column: string, direction: string}[]}} wanted
   */
  constructor(address, { schema, entity, sort = [] }) {
    super();
    this.#wanted = { schema, entity, options: { snapshot: true, sort } };
    this.#client = new ChatClient(address, { welcome: false, heartbeat: { interval: PING_EVERY } });
    this.#client.on("open", () => this.#subscribe());
    this.#client.on("close", () => this.#forget());
    this.#client.on("gave_up", () => this.#become(null));
    this.#client.on("message", (message) => this.#received(message));
  }

  /** Follows the rows until close(), or until the server says that they are not for us. */
  open() {
    if (this.#following) return;
    this.#following = true;
    this.#client.open();
  }

  /** Stops following. The rows stay as they are known, for the next open(). */
  close() {
    this.#following = false;
    this.#forget();
    this.#client.close();
  }

  /** After the server said no: asks once more, as something has changed that may change its mind. */
  again() {
    if (this.#following && this.#client.state.status === "stopped") this.#client.open();
  }

  #subscribe() {
    this.#forget();
    const question = { type: "subscription", operation: "subscribe", ...this.#wanted };
    this.#question = this.#client.send(question, { ack: false });
  }

  /** What was asked or granted on a connection ends with it. */
  #forget() {
    clearTimeout(this.#retry);
    this.#question = this.#subscription = null;
  }

  #received(message) {
    if (message.type === "response") this.#answered(message);
    else if (message.type === "notification") this.#changed(message);
  }

  #answered({ id, success, data, error }) {
    const ours = id !== null && id === this.#question;
    // A failed answer without an id ends a subscription that was granted, and names it.
    const ended = error?.details?.subscription_id;
    const ends = !success && id === null && ended && ended === this.#subscription;
    if (ours && success) this.#granted(data);
    else if (ours || ends) this.#refused(error ?? {});
  }

  #granted({ subscription_id, snapshot = [] }) {
    this.#question = null;
    this.#refusals = 0;
    this.#subscription = subscription_id;
    this.#become(new Map(snapshot.map((row) => [String(row.id), row])));
  }

  #refused({ code, details }) {
    this.#forget();
    if (!MAY_PASS.has(code)) {
      this.#client.close();
      this.#become(null);
      return;
    }
    const least = Number.isFinite(details?.retry_after) ? details.retry_after * 1_000 : 0;
    this.#retry = setTimeout(() => this.#subscribe(), least + backoffDelay(this.#refusals++));
  }

  #changed({ operation, subscription_id, record_id, data }) {
    if (subscription_id !== this.#subscription || this.rows === null) return;
    if (operation === "delete") this.rows.delete(String(record_id));
    else this.rows.set(String(record_id), data);
    this.emit("change");
  }

  #become(rows) {
    this.rows = rows;
    this.emit("change");
  }
}
