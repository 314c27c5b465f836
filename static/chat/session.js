/**
 * The chat's side of the protocol: it turns envelopes into changes of the timeline and of the people, and
 * what a person does into envelopes. One session lives as long as the page; enter() starts a conversation.
 *
 * A room with a password is joined over the endpoint that has no room: a browser can't give a handshake a
 * header, and the password does not belong into an address.
 *
 * Events: `state` with the client's state, `roundtrip` with milliseconds or null, `limits` with the server's,
 * `paused` with {code, message, until, outside} while the server asks us to wait (outside: to be let in), `me`
 * when the server says who we are, `queue` when more or fewer messages wait to be sent.
 */
import { socketAddress } from "./address.js";
import { ChatClient } from "./client.js";
import { Emitter } from "./emitter.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { byteLength, displayName } from "./text.js";
import { Timeline } from "./timeline.js";
import { errorWords } from "./words.js";

const QUEUE_LIMIT = 20; // messages written while disconnected
const FORMER_IDS = 20; // as many are remembered
const DEFAULT_LIMITS = { max_message_bytes: 65_536 };

export class Session extends Emitter {
  #path;
  #client = null;
  #me = { id: null, name: null, user: null };
  #entrance = null; // of a room with a password: {password, open: whether it let us in}
  #formerIds = new Set(); // of this window's earlier connections, which the server may still be seeing off
  #handlers = new Map(
    Object.entries({
      chat: (frame) => this.#chat(frame),
      error: ({ data }) => this.#error(data),
      presence: (frame) => this.#presence(frame),
      system: (frame) => this.#system(frame),
      notification: (frame) => this.#notification(frame),
    }),
  );

  timeline = new Timeline();
  people = new People();
  outbox = new Outbox(this.timeline, {
    send: (ref, text) => this.#client.send(this.#envelope(ref, text)) !== null,
    discard: (ref) => this.#client.discard(ref),
  });
  limits = DEFAULT_LIMITS;
  /** @type {import("./client.js").State|null} */
  state = null;
  room = null;

  /**
   * @param {string} path  of the WebSocket endpoint without a room
   * @param {{id: number|string, username: string}|null} user  who is signed in on this page
   */
  constructor(path, user) {
    super();
    this.#path = path;
    this.#me.user = user;
  }

  get me() {
    return this.#me;
  }

  /**
   * Starts a conversation; what the one before left is gone.
   *
   * @param {string|null} room      null: everyone
   * @param {string} [password]     the room's
   */
  enter(room, name, password) {
    this.leave();
    this.room = room;
    this.#entrance = password === undefined ? null : { password, open: false };
    this.#me = { id: null, name: this.#me.user ? null : name, user: this.#me.user };
    const address = socketAddress(this.#path, this.#entrance ? null : room, this.#me.name);
    const client = (this.#client = new ChatClient(address, { maxQueue: QUEUE_LIMIT }));
    for (const name of ["connecting", "open", "reconnecting", "gave_up"])
      client.on(name, (state) => this.#stateChanged(state));
    client.on("message", (frame) => this.#handlers.get(frame.type)?.(frame));
    client.on("delivery", (delivery) => {
      this.outbox.delivered(delivery);
      this.emit("queue");
    });
    client.on("drain", () =>
      this.timeline.notice("info", "The server is about to restart. This page will reconnect by itself."),
    );
    client.on("paused", (pause) => this.emit("paused", { ...pause, outside: this.state.status !== "open" }));
    client.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    if (this.#entrance) this.#joinWithPassword(client, password);
    client.open();
  }

  leave() {
    const client = this.#client;
    this.#client = null;
    client?.close();
    this.state = null;
    this.outbox.clear();
    this.timeline.clear();
    this.people.clear();
  }

  hurry() {
    this.#client?.hurry();
  }

  /** After the client stopped: the person asks for another try. */
  reopen() {
    if (this.#entrance) this.#joinWithPassword(this.#client, this.#entrance.password);
    this.#client?.open();
  }

  /**
   * @param {string} text
   * @returns {"taken"|"empty"|"too-big"|"stopped"|"full"}
   *   anything but "taken" leaves the text with the person
   */
  say(text) {
    if (!text.trim()) return "empty";
    if (this.sizeOf(text) > this.limits.max_message_bytes) return "too-big";
    if (this.state?.status === "stopped") return "stopped";
    const author = displayName(this.#me);
    return this.outbox.add({ author, verified: Boolean(this.#me.user), text }) ? "taken" : "full";
  }

  /** Bytes that a message with this text takes on the wire. */
  sizeOf(text) {
    return byteLength(JSON.stringify(this.#envelope("00000000-0000-0000-0000-000000000000", text)));
  }

  #envelope(ref, text) {
    const data = { content: text, ref };
    if (this.#me.name) data.name = this.#me.name;
    return { type: "chat", id: ref, data, ...(this.#entrance && { room: this.room }) };
  }

  /** The state that the person sees: a room with a password is open when it has let us in. */
  #stateChanged(state) {
    if (state.status !== "open") {
      this.outbox.connectionLost();
      this.emit("roundtrip", null);
      if (this.#entrance) this.#entrance.open = false;
    }
    const outside = state.status === "open" && this.#entrance && !this.#entrance.open;
    this.state = outside ? { ...state, status: "connecting" } : state;
    this.emit("state", this.state);
  }

  async #joinWithPassword(client, password) {
    try {
      await client.join(this.room, { password, members: true });
    } catch (error) {
      if (["gave_up", "replaced"].includes(error.code)) return; // its state tells that, or the next one does
      // The server does not tell a wrong password from a room that is closed to us: another may help.
      const code = error.code === "forbidden" ? "password_required" : error.code;
      if (client === this.#client) this.#shutOut("refused", 403, code, error.message);
    }
  }

  /** The room is closed to us though the connection is not: it ends, as if the room had been refused. */
  #shutOut(kind, status, code, message) {
    this.#client.close();
    this.outbox.connectionLost();
    const why = { kind, status, code, message };
    this.#stateChanged({ status: "stopped", attempt: 0, why, retryAt: null, mayHurry: false });
  }

  #system({ data, timestamp }) {
    if (data?.event === "welcome") this.#welcome(data);
    else if (data?.event === "members" && Array.isArray(data.members)) {
      this.people.list(data.members, Boolean(data.truncated));
    } else if (data?.event === "joined" && this.#entrance) {
      this.#entrance.open = true;
      this.#stateChanged(this.#client.state);
    } else if (data?.event === "left" && data.reason && this.#entrance) {
      this.#putOut(data.reason);
    } else if (typeof data?.content === "string")
      this.timeline.notice("info", data.content, moment(timestamp));
  }

  #welcome({ client_id, user, limits }) {
    this.#formerIds = new Set([...this.#formerIds, this.#me.id].slice(-FORMER_IDS));
    this.#me = { id: client_id, name: this.#me.name, user: user ?? null };
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.people.welcome(this.#me);
    this.people.presenceLimit = this.limits.presence_limit ?? Infinity;
    this.emit("limits", this.limits);
    this.emit("me", this.#me);
  }

  #putOut(reason) {
    this.#entrance.open = false;
    if (reason === "unavailable") this.#stateChanged(this.#client.state);
    else this.#shutOut("closed", 4503, null, "");
  }

  #chat(frame) {
    const { data, user } = frame;
    if (typeof data?.content !== "string") return;
    const at = moment(frame.timestamp);
    const own = frame.from === this.#me.id;
    if (own && this.timeline.isPending(data.ref)) {
      this.outbox.returned(data.ref, at);
      return;
    }
    const author = displayName({ id: frame.from, name: data.name, user });
    this.timeline.add({
      author,
      verified: Boolean(user),
      speaker: own ? "me" : `${frame.from} ${author}`,
      text: data.content,
      at,
      own,
      toEveryone: frame.room === null && this.room !== null,
      status: "sent",
      problem: null,
    });
  }

  #presence({ from, user, data, timestamp }) {
    if (from === this.#me.id || !["online", "offline"].includes(data?.status)) return;
    const member = { id: from, name: data.name ?? null, user: user ?? null };
    const personal = this.people.change(member, data.status === "online");
    if (personal && !this.#formerIds.has(from))
      this.timeline.presence(displayName(member), data.status, moment(timestamp));
  }

  #notification({ data, timestamp }) {
    const said = [data?.title, data?.message ?? data?.content ?? data?.text].filter(
      (part) => typeof part === "string",
    );
    this.timeline.notice("announcement", said.join(": ") || JSON.stringify(data), moment(timestamp));
  }

  /** What concerns no message of ours: those tell it themselves. */
  #error(data) {
    if (data?.ref == null && !Number.isFinite(data?.retry_after))
      this.timeline.notice("problem", errorWords(data));
  }
}

function moment(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? new Date() : at;
}
