/** Wires the page together: address and door decide the conversation, the session runs it, views show it. */
import { addressOf, readAddress, signInLink } from "./address.js";
import { Directory } from "./directory.js";
import { rememberName, rememberedName, rememberRoom } from "./memory.js";
import { Session } from "./session.js";
import { displayName } from "./text.js";
import { ComposerView } from "./views/composer.js";
import { DoorView } from "./views/door.js";
import { byId } from "./views/dom.js";
import { InviteView } from "./views/invite.js";
import { MessagesView } from "./views/messages.js";
import { Panels } from "./views/panels.js";
import { PasswordView } from "./views/password.js";
import { PeopleView } from "./views/people.js";
import { ROOM_PROBLEM, RoomsView } from "./views/rooms.js";
import { ScrollView } from "./views/scroll.js";
import { Seen } from "./views/seen.js";
import { StatusView } from "./views/status.js";

const { socketPath, resourcePath, signIn, userId, username } = document.body.dataset;
const siteName = document.title;
const user = username ? { id: userId, username } : null;
let name = rememberedName();
const passwords = new Map(); // room → the password given for it, as long as the page is open
let routed = null; // the part of the address that the page shows

const session = new Session(socketPath, user);
const directory = new Directory(resourcePath);
const door = new DoorView(username ?? null, directory, (choice) => enterFromDoor(choice));
const panels = new Panels();
const scroll = new ScrollView({ unread: showUnread });
const messages = new MessagesView(session.timeline, { retry, discard, added: itemAdded });
const rooms = new RoomsView(directory, {
  go,
  changeName: () => openDoor({ room: session.room, everyone: session.room === null }),
});
const status = new StatusView(Boolean(user), {
  hurry: () => session.hurry(),
  reconnect: () => session.reopen(),
  "choose-room": () => openDoor({}),
  password: () => askPassword(),
});
const password = new PasswordView({ enter: enterWithPassword });
const composer = new ComposerView({
  say,
  sizeOf: (text) => session.sizeOf(text),
  limit: () => session.limits.max_message_bytes,
});
new PeopleView(session.people, () => session.room);
new InviteView(() => session.room);
// The list of rooms has a connection of its own, as long as somebody can see the list.
new Seen([byId("door-room-field"), byId("rooms")], {
  comes: () => directory.open(),
  goes: () => directory.close(),
});

session.on("roundtrip", (ms) => status.roundTrip(ms));
session.on("limits", () => composer.refresh());
session.on("me", (me) => rooms.me(displayName(me), Boolean(me.user)));
session.on("queue", () => showQueue());
session.on("paused", (pause) => status.paused(pause));
session.on("state", (state) => {
  status.show(state);
  showQueue();
  if (state.status === "open") directory.again(); // whoever was let in here may be let in there, too
  if (state.status === "stopped" && state.why?.code === "password_required") askPassword();
});
addEventListener("popstate", () => location.search !== routed && route());
route();

/** The conversation that the address names, or the door when something is missing. */
function route() {
  routed = location.search;
  const { place, room } = readAddress(location.search);
  if (place === "invalid") openDoor({ room, problem: ROOM_PROBLEM });
  else if (place === "none" || !(user || name)) openDoor({ room, everyone: place === "everyone" });
  else enter(room);
}

function openDoor(fill) {
  session.leave();
  panels.close();
  password.close();
  byId("chat").hidden = true;
  door.open({ name, ...fill });
  document.title = siteName;
  pointSignInLinks();
}

function enterFromDoor(choice) {
  name = choice.name || name;
  if (choice.name) rememberName(choice.name);
  go(choice.room);
}

function go(room) {
  panels.close();
  if (location.search !== addressOf(room)) history.pushState(null, "", addressOf(room));
  routed = location.search;
  enter(room);
}

function enter(room) {
  door.close();
  password.close();
  byId("chat").hidden = false;
  if (room !== null) rememberRoom(room);
  status.reset();
  scroll.reset();
  rooms.show(room);
  rooms.me(displayName({ id: "", name, user }), Boolean(user));
  session.enter(room, name, passwords.get(room));
  byId("room-name").textContent = placeName();
  composer.enter(placeName());
  composer.focus();
  showUnread(0);
  pointSignInLinks();
}

/** A room wants a password: nobody has given one, or the one given is not it. */
function askPassword() {
  password.open(session.room, passwords.delete(session.room));
}

function enterWithPassword(given) {
  passwords.set(session.room, given);
  enter(session.room);
}

function placeName() {
  return session.room === null ? "Everyone" : `#${session.room}`;
}

function say(text) {
  const answer = session.say(text);
  if (answer === "taken") messages.unmarkNew();
  showQueue();
  return answer;
}

function retry(key) {
  session.outbox.retry(key);
  showQueue();
  composer.focus();
}

function discard(key) {
  session.outbox.discard(key);
  showQueue();
  composer.focus();
}

function showQueue() {
  status.queued(session.outbox.queued);
}

function itemAdded(item) {
  const own = item.kind === "message" && item.own;
  const counts = !own && (item.kind === "message" || item.level === "announcement");
  if (scroll.added(own, counts)) messages.markNew(item.key);
}

function showUnread(count) {
  document.title = `${count ? `(${count}) ` : ""}${placeName()} · ${siteName}`;
}

/** Signing in or out comes back to the conversation that it left. */
function pointSignInLinks() {
  for (const link of document.querySelectorAll(".sign-in-link")) link.href = signInLink(signIn);
  for (const field of document.querySelectorAll(".sign-out [name=next]"))
    field.value = location.pathname + location.search;
}
