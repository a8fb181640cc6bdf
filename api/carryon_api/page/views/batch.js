/** One action on many jobs, with a result for each. */

import { html, useState } from "../ui/element.js";
import { Confirm, Dialog } from "../ui/dialog.js";
import { asksFirst, complain } from "../acting.js";
import { request } from "../net/api.js";
import { counted } from "../model/wording.js";
import { toast } from "../state.js";

const OFFERED = /** @type {const} */ ([
  ["resume", "Resume"], ["pause", "Pause"], ["restart", "Restart"], ["retry", "Retry failed"], ["cancel", "Cancel"],
  ["delete", "Delete"],
]);
const WENT_WELL = new Set(["accepted", "already"]);

/** @param {{jobs: import("../model/types.js").JobSummary[], onDone: () => void}} props */
export function Batch({ jobs, onDone }) {
  const [asking, ask] = useState("");
  const [results, setResults] = useState(/** @type {any[] | null} */ (null));
  const [busy, setBusy] = useState(false);
  const run = async (/** @type {string} */ action) => {
    setBusy(true);
    try {
      const found = await sendAll(action, jobs);
      const well = found.filter((each) => WENT_WELL.has(each.outcome)).length;
      toast(well === found.length ? "done" : "note", `${action} was asked of ${well} of ${counted(found.length, "job")}`);
      if (well === found.length) onDone();
      else setResults(found);
    } catch (error) {
      complain(error);
    } finally {
      setBusy(false);
    }
  };
  const press = (/** @type {string} */ action) => (asksFirst(action) ? ask(action) : run(action));
  return html`<div class="batch" role="toolbar" aria-label="What to do with the selected jobs">
    <strong>${counted(jobs.length, "job")} selected</strong>
    ${OFFERED.map(([action, label]) => html`<button type="button" key=${action} disabled=${busy}
      class=${`button small ${asksFirst(action) ? "danger" : ""}`} onClick=${() => press(action)}>${label}</button>`)}
    <button type="button" class="button small" onClick=${onDone}>Select none</button>
    ${asking && html`<${Confirm} title=${`${asking === "cancel" ? "Cancel" : "Delete"} ${counted(jobs.length, "job")}?`}
      text=${jobs.map((job) => job.name).join(", ")} consequence=${consequence(asking)}
      label=${asking === "cancel" ? "Cancel them" : "Delete them"} onClose=${() => ask("")} onConfirm=${() => run(asking)} />`}
    ${results && html`<${Results} results=${results} onClose=${() => { setResults(null); onDone(); }} />`}
  </div>`;
}

/** @param {string} action */
const consequence = (action) => (action === "cancel"
  ? "Their pods stop at once, without waiting for checkpoints. What is done is kept."
  : "Their pods stop. Artifacts stay where they are, but for jobs with output.onDelete: Delete.");

/**
 * One request a namespace.
 * @param {string} action
 * @param {import("../model/types.js").JobSummary[]} jobs
 */
async function sendAll(action, jobs) {
  /** @type {Map<string, string[]>} */
  const names = new Map();
  for (const job of jobs) names.set(job.namespace, [...(names.get(job.namespace) ?? []), job.name]);
  const answers = await Promise.all([...names].map(([namespace, each]) =>
    request("POST", "/batch", { json: { action, namespace, names: each } })));
  return answers.flatMap((answer) => answer.results);
}

/** @param {{results: any[], onClose: () => void}} props */
function Results({ results, onClose }) {
  return html`<${Dialog} title="What came of it" onClose=${onClose} wide>
    <table class="plain-table"><thead><tr><th scope="col">Job</th><th scope="col">Outcome</th><th scope="col">Why</th></tr></thead>
      <tbody>${results.map((each) => html`<tr key=${`${each.namespace}/${each.name}`}>
        <th scope="row">${each.name}</th><td>${each.outcome}</td><td>${each.detail}</td></tr>`)}</tbody></table>
  <//>`;
}
