/**
 * What a close or a refused handshake means: does the client come back, when, and with what words?
 * Values in, values out; no socket, clock or timer.
 *
 * @typedef {object} Verdict
 * @property {boolean} retry      come back by itself?
 * @property {number} delay       wait at least this long first, ms
 * @property {string} words       one or two sentences for a person
 * @property {"sign-in"|"choose-room"|"reconnect"|null} action  what the person can do when `retry` is false
 */

export const BACKOFF_BASE = 1_000; // ms
export const BACKOFF_CAP = 30_000; // ms
export const LONGEST_WAIT = 600_000; // ms: no server may send a client away for longer than this

/** Exponential backoff with full jitter: 0 to the ceiling, so that a crowd does not return at once. */
export function backoffDelay(attempt, random = Math.random) {
  const ceiling = Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** Math.min(attempt, 20));
  return Math.round(random() * ceiling);
}

const NEVER_AGAIN = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/** Codes below 4000 are RFC 6455's; of ours, 4000–4499 come back and 4500–4999 don't. */
export function comesBack(code) {
  return !NEVER_AGAIN.has(code) && !(code >= 4500 && code <= 4999);
}

const CLOSE_WORDS = new Map([
  [1000, "The conversation was closed."],
  [1001, "The server is restarting."],
  [1002, "The server and this page misunderstood each other."],
  [1003, "The server could not read what this page sent."],
  [1006, "The connection was lost."],
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

/**
 * @param {number} code    WebSocket close code
 * @param {string} reason  what the server wrote beside it; shown for an administrator's close
 * @returns {Verdict}
 */
export function closeVerdict(code, reason = "") {
  const retry = comesBack(code);
  let words =
    CLOSE_WORDS.get(code) ?? (retry ? "The connection was lost." : "The server closed the connection.");
  if (code === 4510 && reason) words += ` Reason: ${reason}`;
  return { retry, delay: 0, words, action: retry ? null : (CLOSE_ACTIONS.get(code) ?? "reconnect") };
}

const REFUSALS = new Map([
  [
    400,
    {
      words: "The server did not understand the request. Check the name and the room.",
      action: "choose-room",
    },
  ],
  [401, { words: "Sign in to join this conversation.", action: "sign-in" }],
  [403, { words: "You may not join this room.", action: "choose-room" }],
  [404, { words: "There is no such room.", action: "choose-room" }],
]);

const WAITS = new Map([
  ["room_full", "This room is full."],
  ["too_many_connections", "You have too many connections open."],
  ["server_full", "The server is full."],
  ["draining", "The server is restarting."],
]);

/**
 * What the answer to a plain GET on the WebSocket's path says about a handshake that failed.
 *
 * @param {{status: number, error: {code?: string, message?: string}|null, retryAfter: string|null}} answer
 *   status 0 means that nothing answered
 * @param {number} now  ms since the epoch, for a Retry-After that is a date
 * @returns {Verdict}
 */
export function refusalVerdict({ status, error, retryAfter }, now) {
  if (status === 0) return { retry: true, delay: 0, words: "The server can’t be reached.", action: null };
  if (status === 426) return { retry: true, delay: 0, words: "The connection was lost.", action: null };
  const delay = retryAfterMs(retryAfter, now);
  if (status === 408 || status === 429 || status >= 500) {
    const words = WAITS.get(error?.code) ?? sentence(error?.message) ?? "The server is not ready yet.";
    return { retry: true, delay, words, action: null };
  }
  if (status === 403 && error?.code === "forbidden_origin") {
    // A browser names no origin when it asks its own site: this says nothing about the handshake, which does.
    return { retry: true, delay: 0, words: "The server refused the connection.", action: null };
  }
  if (REFUSALS.has(status)) {
    const { words, action } = REFUSALS.get(status);
    const own = status === 401 ? null : sentence(error?.message);
    return { retry: false, delay: 0, words: own ?? words, action };
  }
  return {
    retry: true,
    delay,
    words: "The server gave an answer that this page does not know.",
    action: null,
  };
}

/** Retry-After as ms from now: seconds or an HTTP date, else 0; never longer than LONGEST_WAIT. */
export function retryAfterMs(header, now) {
  if (!header) return 0;
  const wait = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - now;
  return Number.isFinite(wait) ? Math.min(Math.max(wait, 0), LONGEST_WAIT) : 0;
}

function sentence(text) {
  if (typeof text !== "string" || !text.trim()) return null;
  return text.trim().slice(0, 300);
}

const ERROR_WORDS = new Map([
  ["forbidden", "You may not write here."],
  ["unauthenticated", "Sign in to write here."],
  ["rate_limited", "You are writing too quickly. Wait a moment."],
  ["unavailable", "The server could not pass this on. Try again in a moment."],
  ["internal", "Something went wrong on the server."],
  ["invalid_message", "The server did not accept this message."],
  ["invalid_json", "The server could not read this message."],
]);

/** Words for an `error` frame's data; an unknown code speaks with the server's own message. */
export function errorWords(data) {
  return ERROR_WORDS.get(data?.code) ?? sentence(data?.message) ?? "The server did not accept this.";
}
