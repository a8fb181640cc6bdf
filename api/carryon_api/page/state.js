/** What the page knows, in one place, and how views hear of changes: at most once a frame. */

import { useEffect, useState } from "./ui/element.js";
import { EMPTY, reduce } from "./model/feed.js";

/**
 * @typedef {object} Toast
 * @property {number} id
 * @property {"done" | "note" | "problem"} tone
 * @property {string} text
 * @property {string} hint What would help.
 *
 * @typedef {object} State
 * @property {import("./model/feed.js").Feed} feed
 * @property {{state: "unknown" | "in" | "out", user: string, mode: string, version: string, namespaces: string[],
 *   canCreate: Record<string, boolean>, canEdit: Record<string, boolean>, canDelete: Record<string, boolean>}} session
 * @property {{state: "connecting" | "live" | "lost", since: number}} stream
 * @property {Toast[]} toasts
 * @property {ReadonlyMap<string, ReadonlySet<string>>} sending Key of a job -> actions that are on their way.
 * @property {ReadonlyMap<string, {query: Record<string, boolean>}>} exporting Key of a job -> the archive it is paused for.
 * @property {File | null} archive Dropped, and not looked at yet.
 * @property {{what: string, go: () => void, stay: () => void} | null} leaving Asked before what is not saved is left.
 */

/** Before anything is known. @type {State} */
export const FIRST = {
  feed: EMPTY,
  session: { state: "unknown", user: "", mode: "", version: "", namespaces: [], canCreate: {}, canEdit: {}, canDelete: {} },
  stream: { state: "connecting", since: Date.now() },
  toasts: [],
  sending: new Map(),
  exporting: new Map(),
  archive: null,
  leaving: null,
};
let state = FIRST;
const listeners = new Set();
let told = true;

/** The state as it is now. */
export const current = () => state;

/**
 * Change parts of the state.
 * @param {Partial<State>} changes
 */
export function update(changes) {
  state = { ...state, ...changes };
  if (!told) return;
  told = false;
  // A hidden window gets no frames, but an export that waits for a pause goes on in it.
  if (document.hidden) queueMicrotask(tell);
  else requestAnimationFrame(tell);
}

function tell() {
  told = true;
  for (const listener of [...listeners]) listener(state);
}

/**
 * Take in an event of the stream.
 * @param {{type: string, data: any}} event
 * @param {string | null} only
 */
export function take(event, only) {
  update({ feed: reduce(state.feed, event, only) });
}

/**
 * Hear of every change.
 * @param {(state: State) => void} listener
 * @returns {() => void} Stops it.
 */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * A part of the state, for a view: it is drawn again when the part becomes another.
 * @template T
 * @param {(state: State) => T} part
 * @returns {T}
 */
export function useStore(part) {
  const [, redraw] = useState(0);
  const seen = part(state);
  useEffect(() => {
    let last = seen;
    const look = (/** @type {State} */ now) => {
      const next = part(now);
      if (!Object.is(last, next)) {
        last = next;
        redraw((count) => count + 1);
      }
    };
    look(state);
    return subscribe(look);
  });
  return seen;
}

let toasts = 0;

/**
 * Tell people something, for some seconds; problems stay until they are put away.
 * @param {Toast["tone"]} tone
 * @param {string} text
 * @param {string} [hint]
 */
export function toast(tone, text, hint = "") {
  const made = { id: (toasts += 1), tone, text: sentence(text), hint: hint && sentence(hint) };
  update({ toasts: [...state.toasts.filter((each) => each.text !== made.text), made].slice(-4) });
}

/** @param {number} id */
export function dismiss(id) {
  update({ toasts: state.toasts.filter((each) => each.id !== id) });
}

/** @param {string} text */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
