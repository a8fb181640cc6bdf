/** What the page knows of jobs, and how each event of the stream changes it. Pure: a new state, the old one untouched. */

/**
 * @typedef {object} Feed
 * @property {ReadonlyMap<string, import("./types.js").JobSummary>} jobs By key.
 * @property {ReadonlyMap<string, import("./types.js").ProcessStatus>} statuses By key; of jobs that are looked at.
 * @property {ReadonlyMap<string, ReadonlyMap<string, import("./types.js").Progress>>} progress Key -> "stage/index" -> it.
 * @property {boolean} complete All jobs that may be seen are in `jobs`.
 */

/** @type {Feed} */
export const EMPTY = { jobs: new Map(), statuses: new Map(), progress: new Map(), complete: false };

/**
 * Names a job in the page.
 * @param {{namespace: string, name: string}} job
 */
export const keyOf = ({ namespace, name }) => `${namespace}/${name}`;

/**
 * The state after an event.
 * @param {Feed} feed
 * @param {{type: string, data: any}} event
 * @param {string | null} only Key of the job that the stream is about; null: all jobs.
 * @returns {Feed}
 */
export function reduce(feed, { type, data }, only) {
  switch (type) {
    case "snapshot":
      return snapshot(feed, data.jobs, only);
    case "job":
      return withJob(feed, data);
    case "deleted":
      return without(feed, data);
    case "status":
      return withStatus(feed, data);
    case "progress":
      return withProgress(feed, data);
    default:
      return feed;
  }
}

/**
 * @param {Feed} feed
 * @param {import("./types.js").JobSummary[]} jobs
 * @param {string | null} only
 */
function snapshot(feed, jobs, only) {
  const seen = new Map(jobs.map((job) => [keyOf(job), job]));
  if (only === null) {
    const kept = (/** @type {ReadonlyMap<string, any>} */ map) => new Map([...map].filter(([key]) => seen.has(key)));
    return { jobs: seen, statuses: kept(feed.statuses), progress: kept(feed.progress), complete: true };
  }
  const found = seen.get(only);
  return found ? withJob(feed, found) : without(feed, named(only));
}

/** @param {string} key */
function named(key) {
  const [namespace, name] = key.split("/");
  return { namespace, name };
}

/**
 * @param {Feed} feed
 * @param {import("./types.js").JobSummary} job
 */
function withJob(feed, job) {
  const key = keyOf(job);
  const known = feed.jobs.get(key);
  // Another job of the same name is another job: nothing of the old one holds for it.
  const clean = known && known.uid !== job.uid ? without(feed, named(key)) : feed;
  return { ...clean, jobs: new Map(clean.jobs).set(key, job) };
}

/**
 * @param {Feed} feed
 * @param {{namespace: string, name: string, uid?: string}} job
 */
function without(feed, job) {
  const key = keyOf(job);
  const known = feed.jobs.get(key);
  if (job.uid && known && known.uid !== job.uid) return feed;
  const less = (/** @type {ReadonlyMap<string, any>} */ map) => {
    const copy = new Map(map);
    copy.delete(key);
    return copy;
  };
  return { ...feed, jobs: less(feed.jobs), statuses: less(feed.statuses), progress: less(feed.progress) };
}

/**
 * @param {Feed} feed
 * @param {import("./types.js").ProcessStatus} status
 */
function withStatus(feed, status) {
  const grown = withJob(feed, status);
  return { ...grown, statuses: new Map(grown.statuses).set(keyOf(status), status) };
}

/**
 * @param {Feed} feed
 * @param {{namespace: string, name: string, units: import("./types.js").Progress[]}} seen
 */
function withProgress(feed, seen) {
  const key = keyOf(seen);
  const units = new Map(seen.units.map((unit) => [`${unit.stage}/${unit.index}`, unit]));
  return { ...feed, progress: new Map(feed.progress).set(key, units) };
}
