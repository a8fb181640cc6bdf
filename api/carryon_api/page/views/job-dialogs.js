/** What some actions ask before they are sent: what is lost, what to take along, which units. */

import { html, useEffect, useId, useState } from "../ui/element.js";
import { Confirm, Dialog } from "../ui/dialog.js";
import { PauseDialog } from "./pause.js";
import { isStill } from "../model/controls.js";
import { act, complain, exportJob } from "../acting.js";
import { get, jobPath } from "../net/api.js";
import { toast } from "../state.js";

/**
 * @param {{job: import("../model/types.js").ProcessStatus, asking: {id: string, unit?: any}, onClose: () => void}} props
 */
export function JobDialog({ job, asking, onClose }) {
  if (asking.id === "export") return html`<${ExportDialog} job=${job} onClose=${onClose} />`;
  if (asking.id === "pause-until") return html`<${PauseDialog} job=${job} onClose=${onClose} />`;
  if (asking.id === "redo") return html`<${RedoDialog} job=${job} unit=${asking.unit} onClose=${onClose} />`;
  if (asking.id === "approve") return html`<${ApproveDialog} job=${job} onClose=${onClose} />`;
  const cancel = asking.id === "cancel";
  return html`<${Confirm} title=${`${cancel ? "Cancel" : "Delete"} ${job.name}?`} text=${`${capital(job.actions[asking.id].reason)}.`}
    consequence=${cancel ? "Pods stop without waiting for checkpoints: what they have not saved is lost. Resume brings the job back."
      : "The job and what is known of it are gone. Export it first to be able to bring it back."}
    label=${cancel ? "Cancel the job" : "Delete the job"} onClose=${onClose} onConfirm=${() => act(job, asking.id)} />`;
}

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {{label: string, hint?: string, checked: boolean, onChange: (checked: boolean) => void}} props */
function Tick({ label, hint, checked, onChange }) {
  return html`<label class="tick"><input type="checkbox" checked=${checked} onChange=${(/** @type {any} */ event) => onChange(event.target.checked)} />
    <span>${label}${hint && html`<span class="muted">${hint}</span>`}</span></label>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus, onClose: () => void}} props */
function ExportDialog({ job, onClose }) {
  const [artifacts, setArtifacts] = useState(true);
  const [checkpoints, setCheckpoints] = useState(true);
  const still = isStill(job);
  const start = () => { onClose(); exportJob(job, { artifacts, checkpoints }).catch(complain); };
  return html`<${Dialog} title=${`Export ${job.name}`} onClose=${onClose} actions=${html`
      <button class="button" type="button" onClick=${onClose}>Close</button>
      <button class="button go solid" type="button" onClick=${start}>${still ? "Download" : "Pause and download"}</button>`}>
    <p>One file that carries the job anywhere: drop it on this page, here or elsewhere, and the job goes on.</p>
    <${Tick} label="Finished files" hint="Without them the other side makes every unit again." checked=${artifacts} onChange=${setArtifacts} />
    <${Tick} label="Checkpoints" hint="Half-made units go on from their step." checked=${checkpoints} onChange=${setCheckpoints} />
    ${!still && html`<p class="muted">The job is at work: it is paused first, and the download starts by itself once it is suspended.</p>`}
  <//>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus, unit: {stage: string, item: string} | null, onClose: () => void}} props */
function RedoDialog({ job, unit, onClose }) {
  const [stage, setStage] = useState(unit?.stage ?? job.stages[0].name);
  const [item, setItem] = useState(unit?.item ?? "");
  const [seed, setSeed] = useState("");
  const [params, setParams] = useState("");
  const [refused, setRefused] = useState("");
  const ids = useId("redo");
  const start = async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const given = params.trim() ? JSON.parse(params) : undefined;
      const body = { unit: `${stage}/${item.trim()}`, ...(given ? { params: given } : {}), ...(seed ? { seed: Number(seed) } : {}) };
      if (await act(job, "redo", body)) onClose();
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      setRefused(`Params are no JSON: ${error.message}`);
    }
  };
  return html`<${Dialog} title="Make a unit anew" onClose=${onClose}>
    <form class="stack" onSubmit=${start}>
      <div class="two"><div><label for=${`${ids}-stage`}>Stage</label>
        <select id=${`${ids}-stage`} value=${stage} onChange=${(/** @type {any} */ event) => setStage(event.target.value)}>
          ${job.stages.map((each) => html`<option value=${each.name}>${each.name}</option>`)}</select></div>
      <div><label for=${`${ids}-item`}>Item</label>
        <input id=${`${ids}-item`} required value=${item} onInput=${(/** @type {any} */ event) => setItem(event.target.value)} /></div></div>
      <label for=${`${ids}-seed`}>Seed <span class="muted">empty: a new one</span></label>
      <input id=${`${ids}-seed`} inputmode="numeric" pattern="[0-9]*" value=${seed} onInput=${(/** @type {any} */ event) => setSeed(event.target.value)} />
      <label for=${`${ids}-params`}>Params <span class="muted">JSON, such as {"prompt": "dunes at dawn"}; empty: as they are</span></label>
      <textarea id=${`${ids}-params`} rows="3" class="mono" value=${params} aria-invalid=${refused ? "true" : undefined}
        onInput=${(/** @type {any} */ event) => setParams(event.target.value)}></textarea>
      <div role="alert">${refused && html`<p class="error">${refused}</p>`}</div>
      <p class="muted">${capital(job.actions.redo.reason)}.</p>
      <div class="dialog-actions"><button class="button go solid">Redo</button></div>
    </form><//>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus, onClose: () => void}} props */
function ApproveDialog({ job, onClose }) {
  const asking = job.stages.filter((each) => each.approval);
  const [stage, setStage] = useState((asking.find((each) => each.ranges.waitingForApproval) ?? asking[0])?.name ?? "");
  const [waiting, setWaiting] = useState(/** @type {{item: string}[]} */ ([]));
  const [picked, setPicked] = useState(/** @type {ReadonlySet<string>} */ (new Set()));
  useEffect(() => {
    const leave = new AbortController();
    const query = new URLSearchParams({ stage, state: "waitingForApproval", limit: "200" });
    setPicked(new Set());
    get(`${jobPath(job, "units")}?${query}`, leave.signal).then((found) => setWaiting(found.items))
      .catch((error) => leave.signal.aborted || complain(error));
    return () => leave.abort();
  }, [stage]);
  const approve = async (/** @type {object} */ what) => {
    if (await act(job, "approve", { stage, ...what })) onClose();
  };
  const pick = (/** @type {string} */ item) => {
    const next = new Set(picked);
    if (!next.delete(item)) next.add(item);
    setPicked(next);
  };
  const some = () => (picked.size ? approve({ items: [...picked] }) : toast("note", "choose items first"));
  return html`<${Dialog} title="Approve" onClose=${onClose} actions=${html`
      <button class="button" type="button" onClick=${some}>Approve ${picked.size || "chosen"}</button>
      <button class="button go solid" type="button" onClick=${() => approve({ all: true })}>Approve all of ${stage}</button>`}>
    ${asking.length > 1 && html`<label>Stage <select value=${stage} onChange=${(/** @type {any} */ event) => setStage(event.target.value)}>
      ${asking.map((each) => html`<option value=${each.name}>${each.name}</option>`)}</select></label>`}
    <p class="muted">${waiting.length ? `These wait to enter ${stage}. All also means those to come.` : `Nothing waits to enter ${stage} yet; all means those to come.`}</p>
    <div class="ticks">${waiting.map(({ item }) => html`<${Tick} key=${item} label=${item} checked=${picked.has(item)} onChange=${() => pick(item)} />`)}</div>
  <//>`;
}
