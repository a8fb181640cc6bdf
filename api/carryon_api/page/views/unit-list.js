/** Units as a table, a page at a time: the same as cards and map, for whoever prefers reading. */

import { html, useEffect, useState } from "../ui/element.js";
import { LABELS, stateAt } from "../model/units.js";
import { itemKey, toJob } from "../model/route.js";
import { number, size, step } from "../model/wording.js";

const ROWS = 50;

/** @param {import("./cards.js").Shown & {only: string | null}} props */
export function UnitList({ job, stage, states, indexes, pages, progress }) {
  const [from, setFrom] = useState(0);
  const start = Math.min(from, Math.max(0, Math.floor((indexes.length - 1) / ROWS) * ROWS));
  const shown = indexes.subarray(start, start + ROWS);
  useEffect(() => pages.look(shown), [start, indexes]);
  return html`<div class="unit-list">
    <div class="scrolls" role="region" aria-label=${`Units of ${stage.name}, table`} tabindex="0">
      <table class="plain-table"><thead><tr><th scope="col">Item</th><th scope="col">State</th><th scope="col">Step or reason</th><th scope="col">Files</th></tr></thead>
        <tbody>${[...shown].map((index) => html`<${Row} key=${index} job=${job} stage=${stage} index=${index} unit=${pages.at(index)}
          state=${stateAt(states, index)} progress=${progress.get(`${stage.name}/${index}`)} />`)}</tbody></table>
    </div>
    ${indexes.length > ROWS && html`<nav class="pager" aria-label=${`Pages of units of ${stage.name}`}>
      <button class="button small" disabled=${start === 0} onClick=${() => setFrom(Math.max(0, start - ROWS))}>Previous</button>
      <span>${number(start + 1)}–${number(start + shown.length)} of ${number(indexes.length)}</span>
      <button class="button small" disabled=${start + ROWS >= indexes.length} onClick=${() => setFrom(start + ROWS)}>Next</button>
    </nav>`}
  </div>`;
}

/** @param {{job: any, stage: any, index: number, unit?: import("../model/types.js").Unit, state: string, progress?: any}} props */
function Row({ job, stage, index, unit, state, progress }) {
  const shown = unit?.state === "filtered" ? "filtered" : state;
  return html`<tr><th scope="row"><a href=${toJob(job, "units", stage.name, itemKey({ item: unit?.item, index }))}>${unit?.item ?? `#${index}`}</a></th>
    <td><span class=${`swatch ${shown}`}></span> ${LABELS[/** @type {keyof typeof LABELS} */ (shown)]}</td>
    <td>${state === "active" ? step(progress ?? unit?.progress) : unit?.reason}</td>
    <td>${unit?.artifacts.map((artifact) => html`<a key=${artifact.name} href=${artifact.url}>${artifact.name}</a> <span class="muted">${size(artifact.size)}</span> `)}</td></tr>`;
}
