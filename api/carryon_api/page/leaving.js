/**
 * Work that was not saved asks before it is left: by a link, by Back, by closing the window.
 *
 * A route is the address's fragment, and a fragment changes before anybody is asked. So every entry of the history is
 * numbered, and whoever stays is led back to where they were, whichever way they were about to go.
 */

import { update } from "./state.js";

/** What is not saved, for people; "" while everything is. */
let unsaved = "";
let place = 0;
let shown = "";

/**
 * Say that something is not saved, or with "" that all is.
 * @param {string} what
 */
export function hold(what) {
  unsaved = what;
}

/**
 * Follow the address, and ask before what is not saved is left.
 * @param {(hash: string) => void} onMove Called when another view is to be shown.
 * @returns {() => void} Stops it.
 */
export function followAddress(onMove) {
  shown = location.hash;
  // A page that was loaded anew stands where it stood among the entries before and after it.
  place = history.state?.place ?? 0;
  history.replaceState({ place }, "");
  const moved = () => {
    const there = /** @type {number} */ (history.state?.place ?? place + 1);
    if (history.state?.place === undefined) history.replaceState({ place: there }, "");
    const go = () => {
      place = there;
      shown = location.hash;
      onMove(shown);
    };
    if (location.hash === shown) {
      // Back where they stayed, nobody is asked again, nor any longer.
      update({ leaving: null });
      go();
    } else askFirst(go, () => (there === place ? location.replace(shown) : history.go(place - there)));
  };
  const closing = (/** @type {BeforeUnloadEvent} */ event) => unsaved && event.preventDefault();
  addEventListener("hashchange", moved);
  addEventListener("beforeunload", closing);
  return () => {
    removeEventListener("hashchange", moved);
    removeEventListener("beforeunload", closing);
  };
}

/**
 * Do something that leaves what is shown, after a question where something is not saved.
 * @param {() => void} go
 * @param {() => void} [stay]
 */
export function askFirst(go, stay = () => {}) {
  if (!unsaved) {
    go();
    return;
  }
  const answer = (/** @type {() => void} */ then) => () => {
    update({ leaving: null });
    then();
  };
  update({ leaving: {
    what: unsaved,
    go: answer(() => { hold(""); go(); }),
    stay: answer(stay),
  } });
}
