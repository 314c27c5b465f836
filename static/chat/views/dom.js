/** The few things every view does with the document. */

/** @param {string} id @returns {any} the element, which the templates promise to be there */
export const byId = (id) => document.getElementById(id);

/** A fresh copy of the only element in `<template id="...">`. */
export function piece(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

/** Writes text only where it differs, so that nothing is redrawn or announced twice. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Initials on the name's colour. The colours are classes: the page has no inline styles. */
export function paintAvatar(element, letters, hue) {
  for (const name of [...element.classList]) if (name.startsWith("hue-")) element.classList.remove(name);
  element.classList.add(`hue-${hue}`);
  write(element, letters);
}

const LINK = /\bhttps?:\/\/[^\s<>"']+/gi;
const NOT_THE_END = /[.,;:!?)\]}»”’]+$/u;

/**
 * Text with its web addresses as links, for `element.replaceChildren(...)`. Everything is a text node or the
 * text of a link; only http and https addresses that the browser can parse become links.
 *
 * @returns {(string|HTMLAnchorElement)[]}
 */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(NOT_THE_END, "");
    if (!URL.canParse?.(address)) continue;
    parts.push(text.slice(end, match.index), link(address));
    end = match.index + address.length;
  }
  return [...parts, text.slice(end)];
}

function link(address) {
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer nofollow";
  anchor.textContent = address;
  return anchor;
}
