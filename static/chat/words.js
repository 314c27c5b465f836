/**
 * What the page says when something goes wrong: words for a close, a refusal, an error, and what the person
 * can do. Whether and when the connection comes back is client.js's business.
 *
 * @typedef {object} Trouble
 * @property {string} words   one or two sentences
 * @property {"sign-in"|"choose-room"|"password"|"reconnect"|null} action  what helps when it does not come back
 */

const CLOSE_WORDS = new Map([
  [1000, "The conversation was closed."],
  [1001, "The server is restarting."],
  [1002, "The server and this page misunderstood each other."],
  [1003, "The server could not read what this page sent."],
  [1007, "The server could not read what this page sent."],
  [1008, "The server does not allow this."],
  [1009, "A message was too big, so the server closed the connection."],
  [1011, "Something went wrong on the server."],
  [1012, "The server is restarting."],
  [1013, "The server is busy."],
  [4408, "The connection went quiet for too long."],
  [4413, "This window could not keep up with the conversation, so some messages may be missing."],
  [4429, "Messages were sent too quickly."],
  [4501, "You were signed out."],
  [4503, "You no longer have access to this room."],
  [4510, "An administrator closed this connection."],
]);

const CLOSE_ACTIONS = new Map([
  [4501, "sign-in"],
  [4503, "choose-room"],
]);

// By code where there is one that says more than the status.
const REFUSALS = new Map([
  [400, ["The server did not understand the request. Check the name and the room.", "choose-room"]],
  [401, ["Sign in to join this conversation.", "sign-in"]],
  [403, ["You may not join this room.", "choose-room"]],
  [404, ["There is no such room.", "choose-room"]],
  ["password_required", ["This room has a password.", "password"]],
  ["room_full", ["This room is full.", null]],
  ["too_many_connections", ["You have too many connections open.", null]],
  ["server_full", ["The server is full.", null]],
  ["draining", ["The server is restarting.", null]],
]);
// What the server says about the others is more to the point than these words.
const OUR_WORDS = new Set([...REFUSALS.keys()].filter((key) => typeof key === "string" || key === 401));

/** @param {import("./client.js").Why|null} why @returns {Trouble|null} */
export function troubleOf(why) {
  if (why === null) return null;
  if (why.kind === "closed") return closed(why);
  if (why.kind === "refused") return refused(why);
  if (why.kind === "unreachable") return { words: "The server can’t be reached.", action: null };
  return { words: "The connection was lost.", action: "reconnect" };
}

function closed({ status, message }) {
  let words = CLOSE_WORDS.get(status) ?? "The connection was lost.";
  if (status >= 4500 && !CLOSE_WORDS.has(status)) words = "The server closed the connection.";
  if (status === 4510 && message) words += ` Reason: ${message}`;
  return { words, action: CLOSE_ACTIONS.get(status) ?? "reconnect" };
}

function refused({ status, code, message }) {
  if (status === 426) return { words: "The connection was lost.", action: null };
  const key = REFUSALS.has(code) ? code : status;
  const [words, action] = REFUSALS.get(key) ?? ["The server is not ready yet.", "reconnect"];
  return { words: OUR_WORDS.has(key) ? words : (sentence(message) ?? words), action };
}

const ERROR_WORDS = new Map([
  ["forbidden", "You may not write here."],
  ["unauthenticated", "Sign in to write here."],
  ["rate_limited", "You are writing too quickly."],
  ["unavailable", "The server can’t pass messages on right now."],
  ["unconfirmed", "The connection broke before the server confirmed this message."],
  ["too_big", "This message is too long to send."],
  ["room_full", "This room is full."],
  ["internal", "Something went wrong on the server."],
  ["not_in_room", "You are no longer in this room."],
  ["invalid_message", "The server did not accept this message."],
  ["invalid_json", "The server could not read this message."],
]);

/** Words for an error's code; an unknown one speaks with the server's own message. */
export function errorWords({ code, message } = {}) {
  return ERROR_WORDS.get(code) ?? sentence(message) ?? "The server did not accept this.";
}

function sentence(text) {
  if (typeof text !== "string" || !text.trim()) return null;
  return text.trim().slice(0, 300);
}
