/** One stage: how its units stand, as cards, as a map, or as a list. */

import { html, useEffect, useMemo, useRef, useState } from "../ui/element.js";
import { Icon } from "../ui/icons.js";
import { Progress } from "../ui/progress.js";
import { Cards } from "./cards.js";
import { UnitMap } from "./map.js";
import { UnitList } from "./unit-list.js";
import { UnitPages } from "../unit-pages.js";
import { chosen, LABELS, paint, tally } from "../model/units.js";
import { keyOf } from "../model/feed.js";
import { counted, exactly, number } from "../model/wording.js";
import { useStore } from "../state.js";

/** From so many units on a map comes first: cards of them all would be a long way to scroll. */
const MANY = 240;
const VIEWS = /** @type {const} */ ([["cards", "Cards", "grid"], ["map", "Map", "dots"], ["list", "List", "list"]]);
const NOTHING = new Map();

/**
 * @param {{job: import("../model/types.js").ProcessStatus, stage: import("../model/types.js").StageReport,
 *   open?: {stage: string, item: string}}} props
 */
export function StageSection({ job, stage, open }) {
  const [view, setView] = useState(stage.total > MANY ? "map" : "cards");
  const [only, setOnly] = useState(/** @type {string | null} */ (null));
  const states = useMemo(() => paint(stage), [stage]);
  const counts = useMemo(() => tally(states), [states]);
  const filter = only !== null && counts[only] ? only : null;
  const indexes = useMemo(() => chosen(states, filter), [states, filter]);
  const pages = usePages(job, stage, states);
  const progress = useStore((state) => state.feed.progress.get(keyOf(job)) ?? NOTHING);
  const openItem = open?.stage === stage.name ? open.item : null;
  const shown = { job, stage, states, indexes, pages, progress, openItem };
  const heading = `stage-${stage.name}`;
  return html`<section class="stage card" aria-labelledby=${heading} data-stage=${stage.name}>
    <header class="stage-head">
      <div><h2 id=${heading}>${stage.name}</h2>
        <p class="muted">${number(stage.done)} of ${counted(stage.total, "unit")}${stage.meanSeconds
          ? html` · ${exactly(stage.meanSeconds)} each` : ""}${stage.after?.length ? html` · after ${stage.after.join(", ")}` : ""}</p></div>
      <div class="segments" role="group" aria-label=${`How the units of ${stage.name} are shown`}>
        ${VIEWS.map(([id, label, icon]) => html`<button type="button" aria-pressed=${view === id ? "true" : "false"}
          onClick=${() => setView(id)}><${Icon} name=${icon} /><span>${label}</span></button>`)}
      </div>
    </header>
    <${Progress} label=${`Progress of stage ${stage.name}`} total=${stage.total} done=${stage.done} failed=${stage.failed}
      active=${counts.active ?? 0} />
    <${Legend} counts=${counts} total=${stage.total} only=${filter} onOnly=${setOnly} stage=${stage.name} />
    ${stage.total === 0 ? html`<p class="empty">Its units are not known yet.</p>`
      : view === "cards" ? html`<${Cards} ...${shown} />`
      : view === "map" ? html`<${UnitMap} ...${shown} />`
      : html`<${UnitList} ...${shown} only=${filter} />`}
  </section>`;
}

/**
 * Counts by state, each of which narrows what is shown to it.
 * @param {{counts: Record<string, number>, total: number, only: string | null, onOnly: (state: string | null) => void, stage: string}} props
 */
function Legend({ counts, total, only, onOnly, stage }) {
  return html`<div class="legend chips" role="group" aria-label=${`Units of ${stage} to show`}>
    <button type="button" class="chip" aria-pressed=${only === null ? "true" : "false"} onClick=${() => onOnly(null)}>
      All <span class="count">${number(total)}</span></button>
    ${Object.entries(counts).map(([state, many]) => html`<button type="button" key=${state} class="chip" data-state=${state}
      aria-pressed=${only === state ? "true" : "false"} onClick=${() => onOnly(only === state ? null : state)}>
      <span class=${`swatch ${state}`}></span>${LABELS[/** @type {keyof typeof LABELS} */ (state)]} <span class="count">${number(many)}</span></button>`)}
  </div>`;
}

/**
 * What the API says of single units, loaded as they are looked at.
 * @param {import("../model/types.js").ProcessStatus} job
 * @param {import("../model/types.js").StageReport} stage
 * @param {Uint8Array} states
 */
function usePages(job, stage, states) {
  const [, redraw] = useState(0);
  const pages = useRef(/** @type {UnitPages | null} */ (null));
  if (pages.current === null) pages.current = new UnitPages(job, stage.name, () => redraw((count) => count + 1));
  useEffect(() => () => pages.current?.leave(), []);
  useEffect(() => pages.current?.stale(states), [states]);
  return pages.current;
}
