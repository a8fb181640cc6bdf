/** Who is signed in, and the stream of events that goes with it. */

import { keyOf } from "./model/feed.js";
import { onSignedOut, Problem, request } from "./net/api.js";
import { Stream } from "./net/stream.js";
import { current, FIRST, take, toast, update } from "./state.js";

/** Milliseconds a hidden window goes on listening: a browser has few connections to one server, and tabs share them. */
const HIDDEN_LISTENS = 60_000;
/** Milliseconds between two looks at whether the sign-in still holds. */
const LOOK_EVERY = 30_000;

/** @type {string | null} */
let only = null;
let resting = 0;

const stream = new Stream({
  onEvent: (event) => (event.type === "expired" ? look() : take(event, only)),
  onState: (state) => update({ stream: { state, since: current().stream.state === state ? current().stream.since : Date.now() } }),
  mayRetry: look,
});

/** Begin: sign in with the token of the address if there is one, listen, and notice when the sign-in ends. */
export async function begin() {
  onSignedOut(signedOut);
  await useToken();
  // `carryon page` may lead to a window that is open already.
  addEventListener("hashchange", useToken);
  if (current().session.state !== "in") await look();
  setInterval(() => document.hidden || look(), LOOK_EVERY);
  document.addEventListener("visibilitychange", rest);
  addEventListener("online", () => current().session.state === "in" && listen(only));
}

/** Sign in with the token of the address, if there is one, and take it out of there. */
async function useToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(history.state, "", location.pathname);
  await signIn(token).catch(sayRefusal);
}

/** A token of the address that the API refuses leads to the form for another one. @param {unknown} error */
function sayRefusal(error) {
  if (!(error instanceof Problem)) throw error;
  toast("problem", error.message);
  update({ session: { ...current().session, state: "out" } });
}

/**
 * Ask who is signed in.
 * @returns {Promise<boolean>} Whether somebody is.
 */
export async function look() {
  try {
    const found = await request("GET", "/session");
    const known = current().session.state === "in";
    update({ session: { ...found, state: "in" } });
    if (!known) listen(only);
    return true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) signedOut();
    else if (current().session.state === "unknown") update({ stream: { state: "lost", since: Date.now() } });
    // An API that does not answer is asked again; only one that says no ends the sign-in.
    return error.status !== 401;
  }
}

function signedOut() {
  if (current().session.state === "out") return;
  stream.close();
  update({ session: { ...current().session, state: "out" } });
}

/**
 * Sign in with a token.
 * @param {string} token
 * @throws {Problem} It is refused.
 */
export async function signIn(token) {
  await request("POST", "/session", { json: { token } });
  await look();
}

/** Sign out: whoever comes next sees nothing of it. */
export async function signOut() {
  await request("DELETE", "/session");
  stream.close();
  update({ ...FIRST, session: { ...FIRST.session, state: "out" } });
}

/** Key of the job that is listened to; null: all are. */
export const listening = () => only;

/**
 * Listen to one job in full, or to all in brief.
 * @param {string | null} key
 */
export function listen(key) {
  only = key;
  if (current().session.state !== "in") return;
  stream.open(key === null ? "/events" : `/events?job=${encodeURIComponent(key)}`);
}

/** Listen to what a job does in full, as far as a view of it is open. @param {{namespace: string, name: string}} job */
export const listenTo = (job) => listen(keyOf(job));

function rest() {
  clearTimeout(resting);
  if (!document.hidden) {
    if (current().session.state === "in" && stream.source === null) listen(only);
    return;
  }
  resting = setTimeout(() => current().exporting.size || stream.close(), HIDDEN_LISTENS);
}
