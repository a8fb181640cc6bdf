/** What may be done with a job, in the one order that the page has for it, from the API's own verdicts. Pure. */

/** In this order, always all of them. */
export const ACTIONS = /** @type {const} */ ([
  "resume", "pause", "restart", "cancel", "retry", "edit", "redo", "approve", "export", "delete",
]);

const LOOKS = {
  resume: ["play", "go", "Resume"],
  pause: ["pause", "", "Pause"],
  restart: ["refresh", "caution", "Restart"],
  cancel: ["stop", "danger", "Cancel"],
  retry: ["retry", "", "Retry failed"],
  edit: ["pencil", "", "Edit"],
  redo: ["redo", "", "Redo"],
  approve: ["check", "", "Approve"],
  export: ["export", "", "Export"],
  delete: ["trash", "danger", "Delete"],
};

/** Actions that lose something, and so ask first. */
export const LOSING = new Set(["cancel", "delete"]);

/**
 * @typedef {object} Control
 * @property {typeof ACTIONS[number]} id
 * @property {string} icon
 * @property {string} tone
 * @property {string} label What it will do.
 * @property {boolean} enabled
 * @property {boolean} busy It has been asked for and is under way.
 * @property {string} reason Why, or why not.
 * @property {boolean} [until] Of a pause: it can be given an end.
 */

/**
 * The controls of a job.
 * @param {import("./types.js").JobSummary} job
 * @param {{sending?: ReadonlySet<string>, exporting?: boolean}} [local] What this page has sent and not heard of yet.
 * @param {{canEdit?: Record<string, boolean>, canDelete?: Record<string, boolean>}} [rights] Of whoever is signed in, by namespace.
 * @returns {Control[]}
 */
export function controls(job, local = {}, rights = {}) {
  return ACTIONS.map((id) => {
    const [icon, tone, name] = LOOKS[id];
    const verdict = id === "export" ? exportVerdict(job, Boolean(local.exporting)) : job.actions[id];
    if (!verdict) return { id, icon, tone, label: name, enabled: false, busy: false, reason: "not known yet" };
    const refusal = forbidden(id, job, rights);
    if (refusal) return { id, icon, tone, label: verdict.label || name, enabled: false, busy: false, reason: refusal };
    const sending = local.sending?.has(id) ?? false;
    const pausing = id === "pause" && (sending || isPausing(job));
    const busy = sending || pausing || (id === "export" && Boolean(local.exporting));
    return {
      id,
      icon,
      tone,
      label: pausing ? "Pausing…" : verdict.label || name,
      enabled: verdict.possible && !busy,
      busy,
      reason: verdict.reason,
      // A job that is suspended already can still be told when to go on.
      ...(id === "pause" ? { until: !sending && (verdict.possible || (job.suspend && verdict.already)) } : {}),
    };
  });
}

/**
 * Why whoever is signed in may not do something, "" if they may.
 * @param {string} id
 * @param {import("./types.js").JobSummary} job
 * @param {{canEdit?: Record<string, boolean>, canDelete?: Record<string, boolean>}} rights
 */
function forbidden(id, job, { canEdit, canDelete }) {
  // An archive of a job that is at rest only reads it.
  if (id === "export" && isStill(job)) return "";
  const may = id === "delete" ? canDelete : canEdit;
  if (may?.[job.namespace] !== false) return "";
  return `you may not ${id === "delete" ? "delete" : "change"} jobs in namespace ${job.namespace}`;
}

/**
 * Whether a job was asked to pause and is not suspended yet.
 * @param {import("./types.js").JobSummary} job
 */
export function isPausing(job) {
  return job.phase === "Suspending" || (job.suspend && Boolean(job.actions.pause?.already) && job.phase !== "Suspended");
}

/**
 * Whether an archive can be made of a job as it is, or it would have to be paused first.
 * @param {import("./types.js").JobSummary} job
 */
export function isStill(job) {
  return job.units.active === 0 && (ENDED.has(job.phase) || job.phase === "Suspended");
}

/** Phases of jobs that have ended. */
export const ENDED = new Set(["Succeeded", "Failed", "Cancelled"]);

/**
 * @param {import("./types.js").JobSummary} job
 * @param {boolean} exporting
 * @returns {import("./types.js").Action}
 */
function exportVerdict(job, exporting) {
  const made = (/** @type {boolean} */ possible, /** @type {string} */ reason) => ({
    possible, reason, action: "", label: exporting ? "Exporting…" : "Export", already: exporting,
  });
  if (exporting) return made(false, "it is being paused: the download starts by itself");
  if (job.deleting) return made(false, "it is being deleted");
  if (!job.units.total) return made(false, "its units are not known yet: wait for the operator");
  if (isStill(job)) return made(true, "downloads an archive that carries the job anywhere");
  return made(true, "it is paused first; the download starts by itself once it is suspended");
}
