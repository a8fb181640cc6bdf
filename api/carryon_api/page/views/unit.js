/** One unit, beside its job: what it made, what each attempt did, and its log. */

import { html, useEffect, useRef, useState } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Artifact } from "../ui/media.js";
import { Log } from "./log.js";
import { keyOf } from "../model/feed.js";
import { toJob } from "../model/route.js";
import { LABELS } from "../model/units.js";
import { exactly, moment, step } from "../model/wording.js";
import { act } from "../acting.js";
import { jobPath, Problem, request } from "../net/api.js";
import { useStore } from "../state.js";

/** Milliseconds between two looks at a unit that is at work. */
const LOOK_EVERY = 3000;

/**
 * @param {{job: import("../model/types.js").ProcessStatus, unit: {stage: string, item: string}, onRedo: (unit: {stage: string, item: string}) => void}} props
 */
export function UnitPanel({ job, unit, onRedo }) {
  const { detail, problem } = useDetail(job, unit);
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  const back = toJob(job);
  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    const leave = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) location.hash = back;
    };
    addEventListener("keydown", leave);
    return () => removeEventListener("keydown", leave);
  }, []);
  return html`<aside class="panel" aria-label=${`Unit ${unit.stage} ${detail?.item ?? unit.item}`}>
    <header><h2 tabindex="-1" ref=${heading}><span class="muted">${unit.stage}</span> ${detail?.item ?? unit.item}</h2>
      <a class="plain" href=${back} aria-label="Close this unit"><${Icon} name="cross" /></a></header>
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    ${!detail && !problem && html`<p class="muted" role="status">Looking…</p>`}
    ${detail && html`<${Detail} job=${job} detail=${detail} onRedo=${onRedo} />`}
  </aside>`;
}

/**
 * What the API says of the unit, asked again whenever its job has moved, or every few seconds while it is at work.
 * @param {import("../model/types.js").ProcessStatus} job
 * @param {{stage: string, item: string}} unit
 */
function useDetail(job, unit) {
  const [seen, setSeen] = useState(/** @type {{detail: any, problem: string}} */ ({ detail: null, problem: "" }));
  const version = job.resourceVersion;
  useEffect(() => {
    const leave = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        const detail = await request("GET", jobPath(job, "units", unit.stage, unit.item), { exact: true, signal: leave.signal });
        setSeen({ detail, problem: "" });
        if (detail.state === "active") timer = setTimeout(look, LOOK_EVERY);
      } catch (error) {
        if (leave.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        setSeen((before) => ({ detail: before.detail, problem: error.message }));
      }
    };
    look();
    return () => {
      clearTimeout(timer);
      leave.abort();
    };
  }, [version, unit.stage, unit.item]);
  return seen;
}

/** @param {{job: import("../model/types.js").ProcessStatus, detail: any, onRedo: (unit: {stage: string, item: string}) => void}} props */
function Detail({ job, detail, onRedo }) {
  const progress = useStore((state) => state.feed.progress.get(keyOf(job))?.get(`${detail.stage}/${detail.index}`)) ?? detail.progress;
  const label = LABELS[/** @type {keyof typeof LABELS} */ (detail.state)] ?? detail.state;
  const active = detail.state === "active";
  const facts = factsOf(detail);
  return html`
    <p class="unit-line"><span class=${`swatch ${detail.state}`}></span><strong>${label}</strong>
      ${active && html` <span>${step(progress)}</span>`}
      ${active && progress?.secondsPerStep ? html` <span class="muted">${exactly(progress.secondsPerStep)} a step</span>` : ""}</p>
    ${detail.reason && html`<p class=${detail.state === "failed" ? "error reason" : "muted reason"}>${detail.reason}</p>`}
    <div class="panel-actions">
      ${detail.state === "failed" && html`<button class="button small" onClick=${() => act(job, "retry", { units: [`${detail.stage}/${detail.index}`] })}>
        <${Icon} name="retry" /> Retry this unit</button>`}
      ${job.actions.redo?.possible && html`<button class="button small" onClick=${() => onRedo(detail)}><${Icon} name="redo" /> Redo…</button>`}
    </div>
    ${detail.previews?.map((/** @type {any} */ preview) => html`<figure class="artifact preview" key=${preview.name}>
      <video src=${preview.url} controls muted preload="metadata" playsinline aria-label=${`Preview ${preview.name}`}></video>
      <figcaption class="muted">a section that is finished, of a clip that is not</figcaption></figure>`)}
    ${detail.artifacts?.map((/** @type {any} */ artifact) => html`<${Artifact} key=${artifact.sha256 || artifact.name} artifact=${artifact} />`)}
    ${facts.length > 0 && html`<dl class="facts">${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`}
    <${Attempts} job=${job} detail=${detail} />`;
}

/**
 * What done.json says, in words.
 * @param {any} detail
 * @returns {[string, any][]}
 */
function factsOf(detail) {
  const done = detail.done ?? {};
  const { timings = {}, resume } = done;
  /** @type {[string, any][]} */
  const facts = [
    ["Seed", detail.seed], ["Made in", timings.generate && exactly(timings.generate)], ["Loaded in", timings.load && exactly(timings.load)],
    ["Went on from step", resume?.step || undefined], ["Work saved", resume?.saved ? exactly(resume.saved) : undefined],
    ["Computed on", done.device], ["Attempt", done.attempt], ["Finished", moment(done.finished)], ["Outcome", done.outcome === "generated" ? "" : done.outcome],
    ["Model", done.models?.map((/** @type {any} */ each) => each.model).join(", ")],
  ];
  for (const [name, value] of Object.entries(detail.params ?? {})) facts.push([name, typeof value === "string" ? value : JSON.stringify(value)]);
  return facts.filter(([name, value]) => value !== undefined && value !== "" && value !== null && (value !== 0 || name === "Seed"));
}

/** @param {{job: any, detail: any}} props */
function Attempts({ job, detail }) {
  /** @type {any[]} The newest first. */
  const attempts = detail.attempts ?? [];
  const [chosen, choose] = useState(/** @type {string | null} */ (null));
  if (!attempts.length) return null;
  const shown = attempts.find((each) => each.podUid === chosen) ?? attempts.find((each) => each.log) ?? attempts[0];
  return html`<section class="attempts"><h3>Attempts</h3>
    <ol>${attempts.map((each) => html`<li key=${each.podUid}>
      <button type="button" class="attempt" aria-pressed=${shown === each ? "true" : "false"} onClick=${() => choose(each.podUid)}>
        <strong>${each.attempt ?? "?"}</strong> <span>${each.reason ? "failed" : each.state}</span>
        <span class="muted">${moment(each.finished ?? each.started)}</span>
        ${each.reason && html`<span class="attempt-why">${each.reason}${each.message ? `: ${each.message}` : ""}</span>`}
      </button></li>`)}</ol>
    ${shown.log ? html`<${Log} key=${shown.podUid} url=${shown.log} live=${shown.state === "running"} />`
      : html`<p class="muted">No log: logs are kept of attempts that are at work or failed.</p>`}
  </section>`;
}
