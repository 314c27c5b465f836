/** Turning values into words, and checking the words that people type. */

export const NAME_LIMIT = 64; // characters, the server's own limit
export const ROOM_PATTERN = /^[A-Za-z0-9._:-]{1,128}$/;
export const HUES = 10; // as many .hue-N classes as css/people.css has

const encoder = new TextEncoder();
const timeFormat = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** A name fit to show and to send: no control characters, single spaces, 64 characters at most, or "". */
export function cleanName(raw) {
  if (typeof raw !== "string") return "";
  const tidy = raw.replace(/\p{C}/gu, " ").replace(/\s+/g, " ").trim();
  return [...tidy].slice(0, NAME_LIMIT).join("").trim();
}

/** What to call `{id, name, user}`: a verified username first, then the name they gave, then a guest. */
export function displayName({ id, name, user }) {
  return cleanName(user?.username) || cleanName(name) || `Guest ${String(id ?? "").slice(0, 4)}`.trim();
}

/** One or two letters for an avatar. */
export function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = (words.length > 1 ? [words[0], words.at(-1)] : words).map((word) => [...word][0]);
  return letters.join("").toLocaleUpperCase() || "?";
}

/** The same name always has the same hue, 0 to HUES - 1 (FNV-1a). */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of encoder.encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (hash >>> 8) % HUES;
}

export const byteLength = (text) => encoder.encode(text).length;

/** "10:31" in the reader's own time zone and habit. */
export const clockTime = (date) => timeFormat.format(date);
export const fullTime = (date) => fullFormat.format(date);

export function dayName(date, now = new Date()) {
  const days = Math.round((startOfDay(now) - startOfDay(date)) / 86_400_000);
  if (days === 0) return "Today";
  return days === 1 ? "Yesterday" : dayFormat.format(date);
}

export const sameDay = (a, b) => startOfDay(a).getTime() === startOfDay(b).getTime();

function startOfDay(date) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate());
}

export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

/** "Ada", "Ada and Bo", "Ada, Bo, Cy and 4 more". */
export function listNames(names, most = 3) {
  if (names.length === 1) return names[0];
  if (names.length <= most) return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}

/** "12 KB" for people; exact bytes where it is less than a kilobyte. */
export function size(bytes) {
  return bytes < 1024
    ? plural(bytes, "byte", "bytes")
    : `${(bytes / 1024).toFixed(bytes < 10_240 ? 1 : 0)} KB`;
}
