/** What is known of a job beside its units: times, counters, work, failures. */

import { html, useNow } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Notified } from "./notified.js";
import { toJob } from "../model/route.js";
import { ago, between, exactly, moment, number, span } from "../model/wording.js";
import { jobUrl } from "../net/api.js";

/** @type {Record<string, string>} */
const COUNTERS = {
  resumes: "Resumed", restarts: "Restarted", suspensions: "Suspended", disruptions: "Pods lost", failures: "Attempts failed",
  stuck: "Attempts stuck", notResumable: "Started over", round: "Round",
};
/** @type {Record<string, string>} */
const WORK = { useful: "Useful", saved: "Saved by resuming", checkpointing: "Checkpointing", lost: "Lost" };

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
export function Facts({ job }) {
  const counters = Object.entries(COUNTERS).filter(([key]) => job.counters?.[key]);
  const work = Object.entries(WORK).filter(([key]) => job.gpuSeconds?.[key]);
  return html`<aside class="job-facts" aria-label="About this job">
    <${Times} job=${job} />
    <${Stages} job=${job} />
    ${counters.length > 0 && html`<section class="fact-box"><h2>What happened</h2><dl class="facts">
      ${counters.map(([key, label]) => html`<dt>${label}</dt><dd>${number(job.counters[key])}${key === "round" ? "" : "×"}</dd>`)}</dl></section>`}
    ${work.length > 0 && html`<section class="fact-box"><h2>GPU time</h2><dl class="facts">
      ${work.map(([key, label]) => html`<dt>${label}</dt><dd>${span(job.gpuSeconds[key])}</dd>`)}</dl></section>`}
    <${Failures} job=${job} />
    <${Notified} job=${job} />
    <section class="fact-box links"><h2>Take it along</h2>
      ${job.units.succeeded > 0 && html`<a href=${jobUrl(job, ["download"])} download><${Icon} name="download" />Finished files (ZIP)</a>`}
      <a href=${jobUrl(job, ["support"])} download><${Icon} name="lifebuoy" />Report a problem</a>
      <p class="muted small">The report has states, events, logs and versions, without prompts and secrets.</p>
    </section>
  </aside>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
function Times({ job }) {
  const now = useNow(5000);
  const times = job.times ?? {};
  /** @type {[string, string | null | undefined][]} */
  const shown = [["Created", job.created], ["Started", times.started], ["Last activity", times.lastActivity], ["Finished", times.finished]];
  return html`<section class="fact-box"><h2>Times</h2><dl class="facts">
    ${shown.filter(([, time]) => time).map(([label, time]) => html`<dt>${label}</dt><dd title=${moment(time)}>${ago(time, now)}</dd>`)}</dl></section>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
function Stages({ job }) {
  const now = useNow(5000);
  return html`<section class="fact-box"><h2>Stages</h2><table class="small-table">
    <thead><tr><th scope="col">Stage</th><th scope="col">Done</th><th scope="col">Each</th><th scope="col">Took</th></tr></thead>
    <tbody>${job.stages.map((stage) => {
      const took = between(stage.started, stage.finished, now);
      return html`<tr key=${stage.name}><th scope="row">${stage.name}</th><td>${number(stage.done)}/${number(stage.total)}</td>
        <td>${stage.meanSeconds ? exactly(stage.meanSeconds) : "–"}</td><td>${took === null ? "–" : span(took)}</td></tr>`;
    })}</tbody></table></section>`;
}

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
function Failures({ job }) {
  const now = useNow(10_000);
  const failures = job.recentFailures ?? [];
  if (!failures.length) return null;
  return html`<section class="fact-box"><h2>Recent failures</h2><ul class="failures">
    ${[...failures].reverse().slice(0, 8).map((each) => html`<li key=${`${each.stage}/${each.unit}/${each.time}/${each.attempt}`}>
      <a href=${toJob(job, "units", each.stage, each.unit)}>${each.stage} ${each.unit}</a>${" "}
      <span class="muted">attempt ${each.attempt}, ${ago(each.time, now)}</span>
      <p><strong>${each.reason}</strong> ${each.message}</p></li>`)}</ul></section>`;
}
