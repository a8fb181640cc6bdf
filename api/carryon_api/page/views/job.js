/** One job: its controls, its stages with all their units, and what is known of it. */

import { html, useEffect, useNow, useRef, useState, useTitle } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Phase } from "../ui/phase.js";
import { Progress } from "../ui/progress.js";
import { ControlsBar } from "../ui/controls-bar.js";
import { JobDialog } from "./job-dialogs.js";
import { Facts } from "./facts.js";
import { GoesOn } from "./pause.js";
import { Settings } from "./settings.js";
import { StageSection } from "./stage.js";
import { UnitPanel } from "./unit.js";
import { keyOf } from "../model/feed.js";
import { isActive } from "../model/listing.js";
import { toJob } from "../model/route.js";
import { ago, between, number, span } from "../model/wording.js";
import { act, asksFirst, stopWaiting } from "../acting.js";
import { get, jobPath, Problem } from "../net/api.js";
import { listen, listenTo } from "../session.js";
import { take, useStore } from "../state.js";

/** @param {{namespace: string, name: string, unit?: {stage: string, item: string}}} props */
export function JobView({ namespace, name, unit }) {
  const key = keyOf({ namespace, name });
  useTitle(name);
  const status = useStore((state) => state.feed.statuses.get(key));
  const summary = useStore((state) => state.feed.jobs.get(key));
  const gone = useGone({ namespace, name }, summary !== undefined);
  const [asking, ask] = useState(/** @type {{id: string, unit?: any} | null} */ (null));
  useFocusBack({ namespace, name }, unit);
  // Of a job that is not there nothing can be heard.
  useEffect(() => (gone ? listen(null) : listenTo({ namespace, name })), [key, gone !== ""]);
  if (gone) return html`<${Gone} name=${name} reason=${gone} />`;
  if (!status || !summary) return html`<main id="main" class="page" tabindex="-1"><p class="empty" role="status">Looking at ${name}…</p></main>`;
  // Between two looks at the whole status the short one is the younger.
  const job = { ...status, ...summary, stages: status.stages };
  const onAct = (/** @type {string} */ id, /** @type {any} */ of = null) => {
    if (id === "edit") location.hash = toJob(job, "edit");
    else if (asksFirst(id) || ["export", "redo", "approve", "pause-until"].includes(id)) ask({ id, unit: of });
    else act(job, id);
  };
  return html`<main id="main" class=${`page job ${unit ? "with-panel" : ""}`} tabindex="-1">
    <${Head} job=${job} onAct=${onAct} />
    <${GoesOn} job=${job} onChange=${() => onAct("pause-until")} />
    <${Notices} job=${job} />
    <div class="job-body">
      <div class="job-stages">
        ${job.stages.map((stage) => html`<${StageSection} key=${stage.name} job=${job} stage=${stage} open=${unit} />`)}
        <${Settings} job=${job} />
      </div>
      <${Facts} job=${job} />
    </div>
    ${unit && html`<${UnitPanel} key=${`${unit.stage}/${unit.item}`} job=${job} unit=${unit} onRedo=${(/** @type {any} */ of) => onAct("redo", of)} />`}
    ${asking && html`<${JobDialog} job=${job} asking=${asking} onClose=${() => ask(null)} />`}
  </main>`;
}

/**
 * Why a job can't be shown, if so; looks at once, so that a job that is not there does not leave people waiting.
 * @param {{namespace: string, name: string}} job
 * @param {boolean} there Whether the stream knows it.
 */
function useGone(job, there) {
  const [gone, setGone] = useState("");
  const [seen, setSeen] = useState(false);
  const key = keyOf(job);
  useEffect(() => {
    const leave = new AbortController();
    get(jobPath(job, "process-status"), leave.signal)
      .then((status) => take({ type: "status", data: status }, key))
      .catch((error) => {
        if (error instanceof Problem && (error.status === 404 || error.status === 403)) setGone(error.message);
        else if (!leave.signal.aborted && !(error instanceof Problem)) throw error;
      });
    return () => leave.abort();
  }, [key]);
  useEffect(() => {
    if (there) {
      setSeen(true);
      setGone("");
    } else if (seen) setGone(`${job.name} has been deleted`);
  }, [there]);
  return gone;
}

/**
 * Gives the keyboard back to a unit's cell when its panel is closed.
 * @param {{namespace: string, name: string}} job
 * @param {{stage: string, item: string} | undefined} unit
 */
function useFocusBack(job, unit) {
  const last = useRef(/** @type {string | null} */ (null));
  useEffect(() => {
    const cell = last.current && document.querySelector(last.current);
    if (!unit && cell instanceof HTMLElement) cell.focus({ preventScroll: true });
    last.current = unit ? cellOf(job, unit) : null;
  }, [unit?.stage, unit?.item]);
}

/**
 * The selector of a unit's cell.
 * @param {{namespace: string, name: string}} job
 * @param {{stage: string, item: string}} unit As the address names it.
 */
function cellOf(job, { stage, item }) {
  // Opened before its name was known, it may have another address by now.
  if (item.startsWith("~")) return `a.unit[data-unit="${CSS.escape(`${stage}/${item.slice(1)}`)}"]`;
  return `a.unit[href="${CSS.escape(toJob(job, "units", stage, item))}"]`;
}

/** @param {{name: string, reason: string}} props */
function Gone({ name, reason }) {
  return html`<main id="main" class="page" tabindex="-1"><div class="welcome">
    <h1>${name}</h1><p role="status">${reason}.</p><p><a class="button" href="#/"><${Icon} name="back" /> All jobs</a></p>
  </div></main>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus, onAct: (id: string) => void}} props */
function Head({ job, onAct }) {
  const now = useNow(1000);
  const { total, succeeded, failed, active } = job.units;
  const took = between(job.times?.started ?? job.started, job.times?.finished ?? job.finished, now);
  return html`<header class="job-head">
    <p class="crumbs"><a href="#/"><${Icon} name="back" />Jobs</a><span class="muted">${job.namespace}</span></p>
    <div class="job-title"><h1>${job.name}</h1><span role="status"><${Phase} job=${job} /></span></div>
    <p class="job-said">${job.message}</p>
    <div class="job-far">
      <strong class="far" data-progress=${job.progress}>${total ? `${number(succeeded)}/${number(total)}` : "–"}</strong>
      <${Progress} label="Progress of the job" total=${total} done=${succeeded} failed=${failed} active=${active} />
      <p class="job-times muted">
        ${took !== null && html`<span>${isActive(job) ? "for" : "took"} ${span(took)}</span>`}
        <${Eta} job=${job} now=${now} />
      </p>
    </div>
    <${ControlsBar} job=${job} onAct=${onAct} />
  </header>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus, now: number}} props */
function Eta({ job, now }) {
  if (!isActive(job)) return html`<span>${ago(job.times?.finished ?? job.finished, now)}</span>`;
  if (job.eta == null) return job.etaReason ? html`<span title=${job.etaReason}>${job.etaReason}</span>` : null;
  if (job.eta < 1) return html`<span data-eta>any moment now</span>`;
  return html`<span data-eta>about <strong>${span(job.eta)}</strong> left</span>`;
}

/** What somebody should know before all else. @param {{job: import("../model/types.js").ProcessStatus}} props */
function Notices({ job }) {
  const key = keyOf(job);
  const exporting = useStore((state) => state.exporting.has(key));
  const said = (job.conditions ?? []).filter((each) => WORTH_SAYING.has(each.type) && each.status === "True"
    || each.type === "Accepted" && each.status === "False");
  return html`
    ${exporting && html`<div class="notice held" role="status"><${Icon} name="hourglass" />
      <p><strong>Pausing for the export.</strong> The download of ${job.name}.carryon starts by itself once the job is suspended: keep this page open.</p>
      <button class="button small" onClick=${() => stopWaiting(key)}>Don't download</button></div>`}
    ${said.map((each) => html`<div key=${each.type} class=${`notice ${each.type === "AwaitingApproval" ? "asks" : "failed"}`}>
      <${Icon} name="alert" /><p><strong>${NOTICE[each.type] ?? each.type}.</strong> ${sentence(each.message)}${helps(job, each.type)}</p></div>`)}`;
}

/**
 * What a person would do about a condition, where its message does not say so itself.
 * @param {import("../model/types.js").ProcessStatus} job
 * @param {string} type
 */
function helps(job, type) {
  const action = job.resume?.action ?? "";
  if (!action || type === "AwaitingApproval" || action.startsWith("put right")) return "";
  return ` What helps: ${inButtons(action)}.`;
}

/**
 * What a person would do, by the buttons of this page instead of the commands that do the same.
 * @param {string} action
 */
function inButtons(action) {
  return action.replace(/carryon resume \S+( \(\d+ remaining\))?/, "Resume").replace(/kubectl edit gj \S+/, "Edit");
}

/** @param {string} text */
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

const WORTH_SAYING = new Set(["Stalled", "ItemsStale", "ArtifactsMissing", "AwaitingApproval"]);
/** @type {Record<string, string>} */
const NOTICE = {
  Stalled: "This job waits for you",
  ItemsStale: "Its items are not followed now",
  ArtifactsMissing: "Artifacts are missing",
  AwaitingApproval: "It waits for approval",
  Accepted: "It can't be carried out as written",
};
