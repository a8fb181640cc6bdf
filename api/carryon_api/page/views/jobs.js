/** All jobs: those at work first, then the others. */

import { html, useEffect, useMemo, useNow, useState, useTitle } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Phase } from "../ui/phase.js";
import { Progress } from "../ui/progress.js";
import { ControlButton } from "../ui/controls-bar.js";
import { Batch } from "./batch.js";
import { controls } from "../model/controls.js";
import { keyOf } from "../model/feed.js";
import { FILTERS, FILTER_LABELS, filterCounts, isActive, listed } from "../model/listing.js";
import { toJob } from "../model/route.js";
import { waitsUntil } from "../model/until.js";
import { ago, between, number, span } from "../model/wording.js";
import { act } from "../acting.js";
import { listen } from "../session.js";
import { useStore } from "../state.js";

const MORE = 50;
const NONE = new Set();

export function JobsView() {
  useTitle("Jobs");
  useEffect(() => listen(null), []);
  const feed = useStore((state) => state.feed);
  const [asked, setAsked] = useState({ filter: "all", search: "", namespace: "" });
  const [selected, setSelected] = useState(/** @type {ReadonlySet<string>} */ (NONE));
  const counts = useMemo(() => filterCounts(feed.jobs.values()), [feed.jobs]);
  const { active, recent } = useMemo(() => listed(feed.jobs.values(), asked), [feed.jobs, asked]);
  const namespaces = useMemo(() => [...new Set([...feed.jobs.values()].map((job) => job.namespace))].sort(), [feed.jobs]);
  const toggle = (/** @type {string} */ key) => {
    const next = new Set(selected);
    if (!next.delete(key)) next.add(key);
    setSelected(next);
  };
  const shown = { selected, toggle, wide: namespaces.length > 1 };
  return html`<main id="main" class="page" tabindex="-1">
    <div class="page-head">
      <h1>Jobs</h1>
      <a class="button go solid" href="#/new"><${Icon} name="plus" /> New job</a>
    </div>
    ${feed.jobs.size > 0 && html`<${Filters} asked=${asked} setAsked=${setAsked} counts=${counts} namespaces=${namespaces} />`}
    ${selected.size > 0 && html`<${Batch} jobs=${[...selected].map((key) => feed.jobs.get(key)).filter(Boolean)}
      onDone=${() => setSelected(NONE)} />`}
    ${!feed.complete && html`<p class="empty" role="status">Looking for jobs…</p>`}
    ${feed.complete && feed.jobs.size === 0 && html`<${Welcome} />`}
    ${feed.complete && feed.jobs.size > 0 && active.length + recent.length === 0
      && html`<p class="empty" role="status">No job fits. Change the search, or show all.</p>`}
    <${Section} title="Active" jobs=${active} ...${shown} />
    <${Section} title="Recent" jobs=${recent} ...${shown} />
  </main>`;
}

function Welcome() {
  return html`<div class="welcome">
    <h2>Nothing here yet</h2>
    <p>A job says what to make: images, clips, text, one unit at a time. Kill anything while it runs; it carries on.</p>
    <p><a class="button go solid" href="#/new"><${Icon} name="plus" /> New job</a>
      ${" "}<a class="button" href="#/import"><${Icon} name="export" /> Import an archive</a></p>
    <p class="muted">Or in a terminal: <code>carryon run examples/hello.yaml</code></p>
  </div>`;
}

/** @param {{asked: any, setAsked: (asked: any) => void, counts: Record<string, number>, namespaces: string[]}} props */
function Filters({ asked, setAsked, counts, namespaces }) {
  const set = (/** @type {object} */ part) => setAsked({ ...asked, ...part });
  return html`<div class="filters" role="search">
    <span class="search"><${Icon} name="search" />
      <input type="search" aria-label="Search by name, label or message" placeholder="Search" value=${asked.search}
        onInput=${(/** @type {any} */ event) => set({ search: event.target.value })} /></span>
    <div class="chips" role="group" aria-label="Show">
      ${FILTERS.map((filter) => html`<button type="button" class="chip" aria-pressed=${asked.filter === filter ? "true" : "false"}
        onClick=${() => set({ filter })}>${FILTER_LABELS[filter]} <span class="count">${number(counts[filter])}</span></button>`)}
    </div>
    ${namespaces.length > 1 && html`<select aria-label="Namespace" value=${asked.namespace}
        onChange=${(/** @type {any} */ event) => set({ namespace: event.target.value })}>
      <option value="">All namespaces</option>
      ${namespaces.map((name) => html`<option value=${name}>${name}</option>`)}
    </select>`}
  </div>`;
}

/**
 * @param {{title: string, jobs: import("../model/types.js").JobSummary[], selected: ReadonlySet<string>,
 *   toggle: (key: string) => void, wide: boolean}} props
 */
function Section({ title, jobs, selected, toggle, wide }) {
  const [most, setMost] = useState(MORE);
  if (!jobs.length) return null;
  return html`<section class="job-list" aria-label=${`${title} jobs`}>
    <h2>${title} <span class="count">${number(jobs.length)}</span></h2>
    <ul>${jobs.slice(0, most).map((job) => html`<${Row} key=${job.uid} job=${job} wide=${wide}
      selected=${selected.has(keyOf(job))} toggle=${toggle} />`)}</ul>
    ${jobs.length > most && html`<button class="button" onClick=${() => setMost(most + MORE)}>
      Show ${Math.min(MORE, jobs.length - most)} more of ${number(jobs.length - most)}</button>`}
  </section>`;
}

/**
 * @param {{job: import("../model/types.js").JobSummary, selected: boolean, toggle: (key: string) => void, wide: boolean}} props
 */
function Row({ job, selected, toggle, wide }) {
  const key = keyOf(job);
  const { total, succeeded, failed, active } = job.units;
  return html`<li class=${`job-row ${selected ? "selected" : ""}`} data-job=${key}>
    <input type="checkbox" aria-label=${`Select ${job.name}`} checked=${selected} onChange=${() => toggle(key)} />
    <div class="job-what">
      <a class="job-name" href=${toJob(job)}>${job.name}</a>
      ${wide && html`<span class="muted namespace">${job.namespace}</span>`}
      <${Phase} job=${job} />
      <p class="job-message">${job.message}</p>
    </div>
    <div class="job-how">
      <${Progress} label=${`Progress of ${job.name}`} total=${total} done=${succeeded} failed=${failed} active=${active}
        tone=${isActive(job) ? "" : "still"} />
      <p class="job-counts"><strong>${total ? `${number(succeeded)}/${number(total)}` : "–"}</strong>
        ${failed > 0 && html`<span class="failed-text">${number(failed)} failed</span>`}
        ${active > 0 && html`<span class="active-text">${number(active)} running</span>`}
        <${Since} job=${job} /></p>
    </div>
    <${Quick} job=${job} />
  </li>`;
}

/** @param {{job: import("../model/types.js").JobSummary}} props */
function Since({ job }) {
  const now = useNow(isActive(job) ? 1000 : 30_000);
  const took = between(job.started, job.finished, now);
  if (isActive(job) && took !== null) return html`<span class="muted">for ${span(took)}</span>`;
  const until = waitsUntil(job, now);
  if (until !== null) return html`<span class="muted">goes on in ${span((Date.parse(until) - now) / 1000)}</span>`;
  const since = job.finished ?? job.started ?? job.created;
  return html`<span class="muted">${ago(since, now)}</span>`;
}

/** The two controls that a list is for. @param {{job: import("../model/types.js").JobSummary}} props */
function Quick({ job }) {
  const sending = useStore((state) => state.sending.get(keyOf(job)) ?? NONE);
  const exporting = useStore((state) => state.exporting.has(keyOf(job)));
  const rights = useStore((state) => state.session);
  const made = useMemo(() => controls(job, { sending, exporting }, rights), [job, sending, exporting, rights]);
  return html`<div class="job-quick">
    ${made.slice(0, 2).map((control) => html`<${ControlButton} key=${control.id} control=${control} small onAct=${(/** @type {string} */ id) => act(job, id)} />`)}
  </div>`;
}
