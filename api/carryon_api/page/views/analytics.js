/** What came of the jobs that exist: how many succeed, what did not finish, where time goes, what resuming saved. */

import { html, useEffect, useMemo, useRef, useState, useTitle } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { causes, figures, percent, reasons, stageTimes, work } from "../model/analytics.js";
import { counted } from "../model/wording.js";
import { complain } from "../acting.js";
import { get } from "../net/api.js";
import { listen } from "../session.js";
import { useStore } from "../state.js";

/** Milliseconds after a look until the next, if jobs have changed: what they add up to is not looked at with every step. */
const REST = 5000;

export function AnalyticsView() {
  useTitle("Analytics");
  useEffect(() => listen(null), []);
  const jobs = useStore((state) => state.feed.jobs);
  const names = useMemo(() => [...new Set([...jobs.values()].map((job) => job.namespace))].sort(), [jobs]);
  const [namespace, setNamespace] = useState("");
  const told = useAnalytics(namespace, jobs);
  return html`<main id="main" class="page" tabindex="-1">
    <div class="page-head"><h1>Analytics</h1>
      ${names.length > 1 && html`<div class="filters inline-filter"><select aria-label="Namespace" value=${namespace}
          onChange=${(/** @type {any} */ event) => setNamespace(event.target.value)}>
        <option value="">All namespaces</option>${names.map((name) => html`<option value=${name}>${name}</option>`)}</select></div>`}
    </div>
    ${told === null ? html`<p class="empty" role="status">Adding up…</p>`
      : told.jobs.total === 0 ? html`<${Nothing} />` : html`<${Told} told=${told} />`}
  </main>`;
}

/**
 * What the API adds up, looked at again while jobs change; null before the first look.
 * @param {string} namespace
 * @param {unknown} jobs Another one whenever a job has changed.
 */
function useAnalytics(namespace, jobs) {
  const [seen, setSeen] = useState(/** @type {{of: string, told: import("../model/analytics.js").Analytics} | null} */ (null));
  const newest = useRef(jobs);
  newest.current = jobs;
  useEffect(() => {
    const leave = new AbortController();
    const query = namespace ? `?${new URLSearchParams({ namespace })}` : "";
    let timer = 0;
    let known = /** @type {unknown} */ (null);
    // A look is never given up because jobs change meanwhile: where many are at work, none would ever end.
    const look = async () => {
      if (known !== newest.current) {
        known = newest.current;
        try {
          setSeen({ of: namespace, told: await get(`/analytics${query}`, leave.signal) });
        } catch (error) {
          if (!leave.signal.aborted) complain(error);
        }
      }
      if (!leave.signal.aborted) timer = setTimeout(look, REST);
    };
    look();
    return () => {
      clearTimeout(timer);
      leave.abort();
    };
  }, [namespace]);
  return seen?.of === namespace ? seen.told : null;
}

function Nothing() {
  return html`<div class="welcome"><h2>Nothing to add up yet</h2>
    <p>Once there are jobs, this shows how many of them succeed, which attempts did not finish and why, and what resuming saved.</p>
    <p><a class="button go solid" href="#/new"><${Icon} name="plus" /> New job</a></p></div>`;
}

/** @param {{told: import("../model/analytics.js").Analytics}} props */
function Told({ told }) {
  return html`
    <p class="muted analytics-of">Over ${counted(told.jobs.total, "job")} with ${counted(told.units.total, "unit")}. Jobs that were deleted count no more.</p>
    <dl class="figures">${figures(told).map(({ label, value, said }) => html`<div class="figure card" key=${label}>
      <dt>${label}</dt><dd><strong>${value}</strong><span class="muted">${said}</span></dd></div>`)}</dl>
    <div class="analytics-body">
      <${Causes} told=${told} />
      <${Work} told=${told} />
      <${Stages} told=${told} />
    </div>`;
}

/** @param {{told: import("../model/analytics.js").Analytics}} props */
function Causes({ told }) {
  const why = reasons(told);
  return html`<section class="card analytics-card" aria-labelledby="analytics-causes"><h2 id="analytics-causes">Attempts that did not finish, by cause</h2>
    <${Bars} bars=${causes(told)} what="Cause" many="Attempts" tone="held" />
    ${why.length > 0 && html`<h3>Reasons of the latest failures</h3><${Bars} bars=${why} what="Reason" many="Failures" tone="failed" />`}
  </section>`;
}

/** @param {{told: import("../model/analytics.js").Analytics}} props */
function Work({ told }) {
  const parts = work(told);
  return html`<section class="card analytics-card" aria-labelledby="analytics-work"><h2 id="analytics-work">GPU time</h2>
    ${parts.length === 0 ? html`<p class="muted">No GPU time has been counted yet.</p>` : html`
      <div class="share" aria-hidden="true">${parts.map(({ label, tone, share }) => html`<span key=${label} class=${tone} style=${{ width: `${100 * share}%` }}></span>`)}</div>
      <table class="small-table"><thead><tr><th scope="col">Went into</th><th scope="col">Time</th><th scope="col">Share</th></tr></thead>
        <tbody>${parts.map(({ label, tone, said, share }) => html`<tr key=${label}><th scope="row"><span class=${`key ${tone}`}></span>${label}</th>
          <td>${said}</td><td>${percent(share)}</td></tr>`)}</tbody></table>`}
  </section>`;
}

/** @param {{told: import("../model/analytics.js").Analytics}} props */
function Stages({ told }) {
  const stages = stageTimes(told);
  return html`<section class="card analytics-card wide" aria-labelledby="analytics-stages"><h2 id="analytics-stages">Time per stage</h2>
    ${stages.length === 0 ? html`<p class="muted">No stage has ended yet.</p>` : html`<div class="scrolls" tabindex="0" role="region" aria-label="Stages">
      <table class="bar-table stages"><thead><tr><th scope="col">Stage</th><th scope="col">Takes</th><th scope="col"><span class="hidden-text">As a bar</span></th>
        <th scope="col">Each unit</th><th scope="col">Measured on</th></tr></thead>
      <tbody>${stages.map((stage) => html`<tr key=${stage.label}><th scope="row">${stage.label}</th><td class="number">${stage.said}</td>
        <td class="bar-cell"><${Line} share=${stage.share} tone="active" /></td>
        <td class="number">${stage.each}</td><td class="muted">${stage.jobs}</td></tr>`)}</tbody></table></div>`}
  </section>`;
}

/** Numbers, each with a bar. @param {{bars: import("../model/analytics.js").Bar[], what: string, many: string, tone: string}} props */
function Bars({ bars, what, many, tone }) {
  return html`<table class="bar-table"><thead class="hidden-text"><tr><th scope="col">${what}</th><th scope="col">${many}</th><th scope="col">As a bar</th></tr></thead>
    <tbody>${bars.map(({ label, hint, said, share }) => html`<tr key=${label}><th scope="row">${label}${hint && html`<span class="muted">${hint}</span>`}</th>
      <td class="number">${said}</td><td class="bar-cell"><${Line} share=${share} tone=${tone} /></td></tr>`)}</tbody></table>`;
}

/** A number as a bar; none for nothing. @param {{share: number, tone: string}} props */
const Line = ({ share, tone }) => share > 0 && html`<span class=${`bar ${tone}`} style=${{ width: `${100 * share}%` }}></span>`;
