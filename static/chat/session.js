/**
 * The chat's side of the protocol: it turns envelopes into changes of the timeline and of the people, and
 * what a person does into envelopes. One session lives as long as the page; enter() starts a conversation.
 *
 * Events: `state` with the client's state, `roundtrip` with milliseconds or null, `limits` with the server's.
 */
import { socketAddress } from "./address.js";
import { ChatClient } from "./client.js";
import { Emitter } from "./emitter.js";
import { Outbox } from "./outbox.js";
import { People } from "./people.js";
import { errorWords } from "./policy.js";
import { byteLength, displayName } from "./text.js";
import { Timeline } from "./timeline.js";

const FORMER_IDS = 20; // as many are remembered
const DEFAULT_LIMITS = { max_message_bytes: 65_536 };

export class Session extends Emitter {
  #path;
  #client = null;
  #me = { id: null, name: null, user: null };
  #formerIds = new Set(); // of this window's earlier connections, which the server may still be seeing off
  #handlers = new Map(
    Object.entries({
      chat: (frame) => this.#chat(frame),
      ack: ({ data }) => this.outbox.acknowledged(data?.ref),
      error: ({ data }) => this.#error(data),
      presence: (frame) => this.#presence(frame),
      system: (frame) => this.#system(frame),
      notification: (frame) => this.#notification(frame),
    }),
  );

  timeline = new Timeline();
  people = new People();
  outbox = new Outbox(this.timeline, (ref, text) => this.#client?.send(this.#envelope(ref, text)) ?? false);
  limits = DEFAULT_LIMITS;
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

  get state() {
    return this.#client?.state ?? null;
  }

  /** Starts a conversation; what the one before left is gone. @param {string|null} room null: everyone */
  enter(room, name) {
    this.leave();
    this.room = room;
    this.#me = { id: null, name: this.#me.user ? null : name, user: this.#me.user };
    this.#client = new ChatClient(socketAddress(this.#path, room, this.#me.name));
    this.#client.on("state", (state) => this.#stateChanged(state));
    this.#client.on("frame", (frame) => this.#handlers.get(frame.type)?.(frame));
    this.#client.on("roundtrip", (ms) => this.emit("roundtrip", ms));
    this.#client.open();
  }

  leave() {
    const client = this.#client;
    this.#client = null;
    client?.close();
    this.outbox.clear();
    this.timeline.clear();
    this.people.clear();
  }

  hurry() {
    this.#client?.hurry();
  }

  /** After the client stopped: the person asks for another try. */
  reopen() {
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
    if (this.outbox.full) return "full";
    this.outbox.add({ author: displayName(this.#me), verified: Boolean(this.#me.user), text });
    return "taken";
  }

  /** Bytes that a message with this text takes on the wire. */
  sizeOf(text) {
    return byteLength(JSON.stringify(this.#envelope("00000000-0000-0000-0000-000000000000", text)));
  }

  #envelope(ref, text) {
    const data = { content: text, ref };
    if (this.#me.name) data.name = this.#me.name;
    return { type: "chat", id: ref, data };
  }

  #stateChanged(state) {
    if (state.status !== "open") {
      this.outbox.connectionLost();
      this.emit("roundtrip", null);
    }
    this.emit("state", state);
  }

  #system({ data, timestamp }) {
    if (data?.event === "welcome") this.#welcome(data);
    else if (data?.event === "members" && Array.isArray(data.members)) {
      this.people.list(data.members, Boolean(data.truncated));
    } else if (data?.event === "draining") {
      this.timeline.notice("info", "The server is about to restart. This page will reconnect by itself.");
    } else if (typeof data?.content === "string")
      this.timeline.notice("info", data.content, moment(timestamp));
  }

  #welcome({ client_id, user, limits }) {
    this.#formerIds = new Set([...this.#formerIds, this.#me.id].slice(-FORMER_IDS));
    this.#me = { id: client_id, name: this.#me.name, user: user ?? null };
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.people.welcome(this.#me);
    this.emit("limits", this.limits);
    this.outbox.flush();
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

  #error(data) {
    const words = errorWords(data);
    if (this.outbox.failed(data?.ref, words)) return;
    this.timeline.notice("problem", words);
  }
}

function moment(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? new Date() : at;
}
