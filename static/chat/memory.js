/**
 * What this browser remembers: the name, and the rooms visited last. Storage may be full or forbidden
 * (private windows, strict settings); then the page works and simply forgets.
 */
import { cleanName, ROOM_PATTERN } from "./text.js";

const NAME_KEY = "chat.name";
const ROOMS_KEY = "chat.rooms";
export const ROOMS_KEPT = 8;

export const rememberedName = () => cleanName(read(NAME_KEY) ?? "");
export const rememberName = (name) => write(NAME_KEY, name);

/** @returns {string[]} the rooms visited last, the newest first */
export function rememberedRooms() {
  try {
    const rooms = JSON.parse(read(ROOMS_KEY) ?? "[]");
    return rooms.filter((room) => typeof room === "string" && ROOM_PATTERN.test(room)).slice(0, ROOMS_KEPT);
  } catch {
    return []; // someone else's value under our key
  }
}

/** Keeps the order that people have got used to: a known room stays where it is in the list. */
export function rememberRoom(room) {
  const rooms = rememberedRooms();
  if (!rooms.includes(room)) write(ROOMS_KEY, JSON.stringify([room, ...rooms].slice(0, ROOMS_KEPT)));
}

export function forgetRoom(room) {
  write(ROOMS_KEY, JSON.stringify(rememberedRooms().filter((known) => known !== room)));
}

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Not remembered, which is all that is lost.
  }
}
