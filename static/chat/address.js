/** Which conversation a page address names, and back: `?room=lounge`, `?everyone`, or neither. */
import { ROOM_PATTERN } from "./text.js";

/**
 * @param {string} search  location.search
 * @returns {{place: "room"|"everyone"|"none"|"invalid", room: string|null}}
 */
export function readAddress(search) {
  const params = new URLSearchParams(search);
  const room = params.get("room");
  if (room) return ROOM_PATTERN.test(room) ? { place: "room", room } : { place: "invalid", room };
  return { place: params.has("everyone") ? "everyone" : "none", room: null };
}

/** @param {string|null} room  null for the conversation of everyone */
export const addressOf = (room) => (room === null ? "?everyone" : `?${new URLSearchParams({ room })}`);

/** The address that opens the same conversation in another window. */
export const inviteLink = (room) => new URL(addressOf(room), location.origin + location.pathname).href;

/** The sign-in page, which comes back to where the visitor is. */
export function signInLink(base) {
  const link = new URL(base, location.origin);
  link.searchParams.set("next", location.pathname + location.search);
  return link.pathname + link.search;
}

/** @returns {string} the WebSocket address of a conversation */
export function socketAddress(path, room, name) {
  const url = new URL(room === null ? path : `${path}/${encodeURIComponent(room)}`, location.origin);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (name) url.searchParams.set("name", name);
  if (room !== null) url.searchParams.set("members", "1");
  return url.href;
}
