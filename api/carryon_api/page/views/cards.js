/** Units as cards: a picture where there is one, else what each is at. Only the rows in sight are drawn. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../ui/element.js";
import { Thumbnail } from "../ui/media.js";
import { LABELS, stateAt } from "../model/units.js";
import { itemKey, toJob } from "../model/route.js";
import { step } from "../model/wording.js";

const NARROWEST = 148;
const GAP = 10;
const TALL = 152;
const LOW = 74;
/** Units of a whole job of which all cards are drawn, in sight or not. */
const FEW = 300;
/** Rows drawn above and below what is in sight. */
const SPARE = 2;

/**
 * @typedef {object} Shown
 * @property {import("../model/types.js").ProcessStatus} job
 * @property {import("../model/types.js").StageReport} stage
 * @property {Uint8Array} states
 * @property {Uint32Array} indexes Of the units to show.
 * @property {import("../unit-pages.js").UnitPages} pages
 * @property {ReadonlyMap<string, import("../model/types.js").Progress>} progress
 * @property {string | null} openItem
 */

/** @param {Shown} props */
export function Cards({ job, stage, states, indexes, pages, progress, openItem }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [at, setAt] = useState(0);
  const arrow = useRef({ at: 0, frame: 0 });
  const width = useWidth(box);
  const columns = Math.max(1, Math.floor((width + GAP) / (NARROWEST + GAP)));
  const tall = useRef(false);
  tall.current ||= hasPictures(pages, indexes);
  const height = (tall.current ? TALL : LOW) + GAP;
  const rows = Math.ceil(indexes.length / columns);
  const inSight = useRowsInSight(box, rows, height);
  const [first, last] = job.units.total <= FEW ? [0, rows - 1] : inSight;
  const seen = indexes.subarray(first * columns, (last + 1) * columns);
  useEffect(() => pages.look(seen), [first, last, columns, indexes]);
  const focused = Math.min(at, indexes.length - 1);
  const reach = (/** @type {number} */ place) => {
    arrow.current.at = place;
    setAt(place);
  };
  const move = (/** @type {KeyboardEvent} */ event) => {
    // Keys may come faster than cards are drawn: each goes on from where the one before leads, and the last takes the focus.
    const to = moved(event.key, Math.min(arrow.current.at, indexes.length - 1), columns, indexes.length);
    if (to === null) return;
    event.preventDefault();
    reach(to);
    reveal(box.current, Math.floor(to / columns), height);
    cancelAnimationFrame(arrow.current.frame);
    // The card may have to be drawn first.
    arrow.current.frame = requestAnimationFrame(() => {
      arrow.current.frame = requestAnimationFrame(() => {
        /** @type {HTMLElement | null} */ (box.current?.querySelector(`[data-at="${to}"]`))?.focus({ preventScroll: true });
      });
    });
  };
  const drawn = [];
  for (let row = first; row <= last && row < rows; row += 1) {
    const cells = [];
    for (let place = row * columns; place < Math.min((row + 1) * columns, indexes.length); place += 1) {
      cells.push(html`<${Card} key=${indexes[place]} job=${job} stage=${stage} index=${indexes[place]} place=${place}
        column=${place - row * columns + 1} unit=${pages.at(indexes[place])} state=${stateAt(states, indexes[place])}
        progress=${progress.get(`${stage.name}/${indexes[place]}`)} tall=${tall.current} reachable=${place === focused}
        openItem=${openItem} onFocus=${() => reach(place)} />`);
    }
    drawn.push(html`<div role="row" class="card-row" key=${row} aria-rowindex=${row + 1}
      style=${{ top: `${row * height}px`, gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}>${cells}</div>`);
  }
  return html`<div class="cards" ref=${box} role="grid" aria-label=${`Units of ${stage.name}`} aria-rowcount=${rows}
    aria-colcount=${columns} style=${{ height: `${Math.max(rows * height - GAP, 0)}px` }} onKeyDown=${move}>${drawn}</div>`;
}

/**
 * @param {{job: any, stage: any, index: number, place: number, column: number, unit?: import("../model/types.js").Unit,
 *   state: string, progress?: import("../model/types.js").Progress, tall: boolean, reachable: boolean,
 *   openItem: string | null, onFocus: () => void}} props
 */
function Card({ job, stage, index, place, column, unit, state, progress, tall, reachable, openItem, onFocus }) {
  const item = unit?.item ?? progress?.item;
  const itsKey = itemKey({ item, index });
  // What is known of the unit may be older than its state.
  const known = unit && (unit.state === state || unit.state === "filtered") ? unit : undefined;
  const shownState = known?.state ?? state;
  const label = LABELS[/** @type {keyof typeof LABELS} */ (shownState)] ?? shownState;
  const now = state === "active" ? step(progress ?? known?.progress) : "";
  const why = state === "failed" || shownState === "filtered" || state === "skipped" ? known?.reason : "";
  const share = state === "active" && progress?.step != null && progress.steps ? progress.step / progress.steps : null;
  const name = item ?? `#${index}`;
  return html`<div role="gridcell" aria-colindex=${column}>
    <a class=${`unit ${shownState} ${tall ? "tall" : ""} ${openItem === itsKey || openItem === itemKey({ index }) ? "open" : ""}`} data-at=${place}
        data-unit=${`${stage.name}/${index}`} data-state=${shownState} tabindex=${reachable ? 0 : -1} onFocus=${onFocus}
        href=${toJob(job, "units", stage.name, itsKey)}
        aria-label=${[`${stage.name} ${name}`, label, now, why].filter(Boolean).join(", ")}>
      ${tall && html`<${Thumbnail} unit=${known} />`}
      <span class="unit-name">${name}</span>
      <span class="unit-state"><span class=${`swatch ${shownState}`}></span><span class="unit-label">${label}${now && html` <b>${now}</b>`}</span></span>
      ${why && html`<span class="unit-why" title=${why}>${why}</span>`}
      ${share !== null && html`<span class="unit-bar"><span style=${{ width: `${Math.round(share * 100)}%` }}></span></span>`}
    </a>
  </div>`;
}

/**
 * @param {import("../unit-pages.js").UnitPages} pages
 * @param {Uint32Array} indexes
 */
function hasPictures(pages, indexes) {
  for (const index of indexes.subarray(0, 400)) {
    if (pages.at(index)?.artifacts.some((artifact) => /^(image|video)\//.test(artifact.contentType))) return true;
  }
  return false;
}

/** @param {{current: HTMLElement | null}} box */
export function useWidth(box) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const look = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    if (box.current) {
      setWidth(box.current.clientWidth);
      look.observe(box.current);
    }
    return () => look.disconnect();
  }, []);
  return width;
}

/**
 * First and last row in sight, with some to spare.
 * @param {{current: HTMLElement | null}} box
 * @param {number} rows
 * @param {number} height
 */
function useRowsInSight(box, rows, height) {
  const [sight, setSight] = useState([0, 12]);
  useEffect(() => {
    let asked = 0;
    const look = () => {
      asked = 0;
      const top = box.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / height) - SPARE);
      const last = Math.max(0, Math.min(rows - 1, Math.ceil((innerHeight - top) / height) + SPARE));
      setSight((now) => (now[0] === first && now[1] === last ? now : [first, last]));
    };
    const soon = () => { asked ||= requestAnimationFrame(look); };
    look();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    // What stands above may grow or shrink, which moves this without any scrolling.
    const moved = new ResizeObserver(soon);
    moved.observe(document.body);
    return () => {
      moved.disconnect();
      cancelAnimationFrame(asked);
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, [rows, height]);
  return sight;
}

/**
 * Where a key leads from a place; null: nowhere.
 * @param {string} key
 * @param {number} at
 * @param {number} columns
 * @param {number} length
 * @returns {number | null}
 */
export function moved(key, at, columns, length) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: columns * 5, PageUp: -columns * 5 };
  if (key === "Home") return 0;
  if (key === "End") return length - 1;
  const by = steps[/** @type {keyof typeof steps} */ (key)];
  if (by === undefined || length === 0) return null;
  return Math.min(length - 1, Math.max(0, at + by));
}

/**
 * Scroll until a row is in sight.
 * @param {HTMLElement | null} box
 * @param {number} row
 * @param {number} height
 */
function reveal(box, row, height) {
  const top = (box?.getBoundingClientRect().top ?? 0) + row * height;
  if (top < 80) scrollBy(0, top - 80);
  else if (top + height > innerHeight - 16) scrollBy(0, top + height - innerHeight + 16);
}
