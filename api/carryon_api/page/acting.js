/** What buttons do: send one request, say what came of it, and go on where something has to be waited for. */

import { LOSING, isPausing, isStill } from "./model/controls.js";
import { keyOf } from "./model/feed.js";
import { jobPath, jobUrl, Problem, request } from "./net/api.js";
import { listening } from "./session.js";
import { current, subscribe, take, toast, update } from "./state.js";

/** Milliseconds in which the stream tells what was just done. */
const CATCHES_UP = 3000;
/** Milliseconds between two looks at a job that an export waits for, where the stream is about another. */
const LOOK_EVERY = 3000;

/** @typedef {{namespace: string, name: string}} Named */

/**
 * Ask for an action, and say what came of it.
 * @param {Named} job
 * @param {string} action
 * @param {unknown} [body]
 * @returns {Promise<boolean>} Whether it was taken.
 */
export async function act(job, action, body = {}) {
  mark(job, action, true);
  try {
    const path = action === "delete" ? jobPath(job) : jobPath(job, action);
    const answer = await request(action === "delete" ? "DELETE" : "POST", path, action === "delete" ? {} : { json: body });
    const said = answer?.message || (action === "delete" ? `${job.name} is being deleted` : `${job.name}: ${action} asked for`);
    toast(answer?.already ? "note" : "done", said);
    // The answer is faster than the stream: until that has caught up the control would show what was before.
    // A deletion's answer has the version before it.
    const wanted = BigInt(answer.resourceVersion) + (action === "delete" && !answer.already ? 1n : 0n);
    void caughtUp(job, wanted).then(() => mark(job, action, false));
    return true;
  } catch (error) {
    mark(job, action, false);
    complain(error);
    return false;
  }
}

/**
 * Waits until the stream has told of a job as it was after an action, but not for long: it may be about another job.
 * @param {Named} job
 * @param {bigint} version Its resourceVersion; versions of one kind grow, and what lies between two may never be told.
 * @returns {Promise<void>}
 */
function caughtUp(job, version) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      leave();
      resolve();
    };
    const look = () => {
      const told = current().feed.jobs.get(keyOf(job))?.resourceVersion;
      if (told === undefined || BigInt(told) >= version) done();
    };
    const timer = setTimeout(done, CATCHES_UP);
    const leave = subscribe(look);
    look();
  });
}

/**
 * Say what went wrong, in the API's own sentence.
 * @param {unknown} error
 */
export function complain(error) {
  if (!(error instanceof Problem)) throw error;
  if (error.status !== 401) toast("problem", error.message, error.action);
}

/**
 * @param {Named} job
 * @param {string} action
 * @param {boolean} on
 */
function mark(job, action, on) {
  const key = keyOf(job);
  const actions = new Set(current().sending.get(key));
  if (on) actions.add(action);
  else actions.delete(action);
  update({ sending: new Map(current().sending).set(key, actions) });
}

/**
 * Export a job: its archive is downloaded at once if nothing is at work, else as soon as it is suspended.
 * @param {import("./model/types.js").JobSummary} job
 * @param {Record<string, boolean>} query artifacts, checkpoints
 */
export async function exportJob(job, query) {
  if (isStill(job)) {
    download(jobUrl(job, ["archive"], query), `${job.name}.carryon`);
    toast("done", `the download of ${job.name}.carryon has started`);
    return;
  }
  waitFor(job, query);
  if (!isPausing(job) && !(await act(job, "pause"))) stopWaiting(keyOf(job));
}

/**
 * @param {Named} job
 * @param {Record<string, boolean>} query
 */
function waitFor(job, query) {
  update({ exporting: new Map(current().exporting).set(keyOf(job), { query }) });
}

/** @param {string} key */
export function stopWaiting(key) {
  const exporting = new Map(current().exporting);
  exporting.delete(key);
  update({ exporting });
}

/** Start the downloads that were waited for, as their jobs come to rest; a page that waits asks before it closes. */
export function watchExports() {
  addEventListener("beforeunload", (event) => current().exporting.size && event.preventDefault());
  setInterval(lookElsewhere, LOOK_EVERY);
  subscribe(({ exporting, feed }) => {
    for (const [key, { query }] of exporting) {
      const job = feed.jobs.get(key);
      if (job && !isStill(job)) continue;
      stopWaiting(key);
      if (job) void exportJob(job, query);
      else toast("problem", `${key} is gone: there is nothing to export`);
    }
  });
}

/** A view of another job does not hear of those that are waited for. */
async function lookElsewhere() {
  const heard = listening();
  for (const key of current().exporting.keys()) {
    if (heard === null || heard === key) continue;
    const [namespace, name] = key.split("/");
    try {
      take({ type: "status", data: await request("GET", jobPath({ namespace, name }, "process-status")) }, key);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 404) take({ type: "deleted", data: { namespace, name } }, key);
    }
  }
}

/**
 * Let the browser download an address.
 * @param {string} url
 * @param {string} [name] What the file is called where the answer does not say.
 */
export function download(url, name = "") {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
}

/** Whether an action asks first. */
export const asksFirst = (/** @type {string} */ action) => LOSING.has(action);
