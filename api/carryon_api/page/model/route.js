/** Addresses inside the page: what follows the #. Pure. */

/**
 * @typedef {{view: "jobs"} | {view: "new"} | {view: "import"} | {view: "analytics"}
 *   | {view: "job", namespace: string, name: string, unit?: {stage: string, item: string}}
 *   | {view: "edit", namespace: string, name: string}} Route
 */

/**
 * The route that an address names; the list of jobs where it names none.
 * @param {string} hash
 * @returns {Route}
 */
export function route(hash) {
  const parts = hash.replace(/^#?\/?/, "").split("/").map(decoded);
  const [view, namespace, name, what, stage, item] = parts;
  if (view === "new" || view === "import" || view === "analytics") return { view };
  if (view === "jobs" && namespace && name) {
    if (what === "edit") return { view: "edit", namespace, name };
    if (what === "units" && stage && item) return { view: "job", namespace, name, unit: { stage, item } };
    return { view: "job", namespace, name };
  }
  return { view: "jobs" };
}

/**
 * The address of a job, of one of its units, or of its editor.
 * @param {{namespace: string, name: string}} job
 * @param {...string} rest
 */
export function toJob({ namespace, name }, ...rest) {
  return `#/${["jobs", namespace, name, ...rest].map(encodeURIComponent).join("/")}`;
}

/**
 * How an item is named in an address: by its id, or by ~ and its index where the id is not known yet or would be read as
 * something else.
 * @param {{item?: string, index: number}} unit
 */
export function itemKey({ item, index }) {
  return item === undefined || /^~|\/|^\.{1,2}$/.test(item) ? `~${index}` : item;
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
