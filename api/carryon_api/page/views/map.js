/** Units as a map: one small cell each, drawn on a canvas, so that 10,000 of them are one element. */

import { html, useEffect, useId, useRef, useState } from "../ui/element.js";
import { moved, useWidth } from "./cards.js";
import { LABELS, STATES, stateAt } from "../model/units.js";
import { itemKey, toJob } from "../model/route.js";
import { number, step } from "../model/wording.js";

/** Size of a cell by how many there are. */
const SIZES = /** @type {const} */ ([[400, 20], [2500, 14], [Infinity, 11]]);

/** @param {import("./cards.js").Shown} props */
export function UnitMap({ job, stage, states, indexes, pages, progress, openItem }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const readout = useId("map");
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const width = useWidth(box);
  const cell = /** @type {readonly [number, number]} */ (SIZES.find(([most]) => indexes.length <= most))[1];
  // Before the width is known nothing is drawn: a column of 10,000 cells is more than a canvas holds.
  const columns = Math.floor(width / cell);
  const rows = columns && Math.ceil(indexes.length / columns);
  const theme = useTheme();
  const place = at === null ? null : Math.min(at, indexes.length - 1);
  useEffect(() => draw(canvas.current, { states, indexes, columns, rows, cell, marked: place }),
    [states, indexes, columns, rows, cell, place, theme]);
  const index = place === null ? null : indexes[place];
  useEffect(() => {
    if (index !== null && index !== undefined) pages.look([index]);
  }, [index]);
  const unit = index === null ? undefined : pages.at(index);
  const point = (/** @type {MouseEvent} */ event) => {
    const column = Math.floor(event.offsetX / cell);
    const found = Math.floor(event.offsetY / cell) * columns + column;
    return column < columns && found < indexes.length ? found : null;
  };
  const open = () => {
    if (index !== null && index !== undefined) location.hash = toJob(job, "units", stage.name, itemKey({ item: unit?.item, index }));
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open();
      return;
    }
    const to = moved(event.key, place ?? -1, columns, indexes.length);
    if (to === null) return;
    event.preventDefault();
    setAt(to);
  };
  return html`<div class="map" ref=${box}>
    <div role="application" tabindex="0" aria-roledescription="map of units" aria-describedby=${readout} onKeyDown=${key}
        aria-label=${`Map of ${number(indexes.length)} units of ${stage.name}. Arrow keys move, Enter opens a unit. The list shows the same as a table.`}
        onFocus=${() => place === null && setAt(0)}>
      <canvas ref=${canvas} aria-hidden="true" onMouseMove=${(/** @type {any} */ event) => setAt(point(event))} onClick=${open}></canvas>
    </div>
    <p class="map-readout" id=${readout} aria-live="polite">${index === null || index === undefined
      ? html`<span class="muted">Point at a cell, or move with the arrow keys, to see which unit it is.</span>`
      : html`<${Readout} stage=${stage} index=${index} state=${stateAt(states, index)} unit=${unit}
          progress=${progress.get(`${stage.name}/${index}`)} />`}</p>
  </div>`;
}

/** @param {{stage: any, index: number, state: string, unit?: import("../model/types.js").Unit, progress?: any}} props */
function Readout({ stage, index, state, unit, progress }) {
  const said = [LABELS[/** @type {keyof typeof LABELS} */ (state)], state === "active" && step(progress ?? unit?.progress),
    unit?.state === state && unit.reason].filter(Boolean).join(", ");
  return html`<span class=${`swatch ${state}`}></span><strong>${stage.name} ${unit?.item ?? `#${index}`}</strong> <span>${said}</span>`;
}

/** Colours of the style sheet as they are now. @param {HTMLCanvasElement} canvas */
function palette(canvas) {
  const colour = (/** @type {string} */ name) => {
    // What a custom property stands for, light or dark, is known where it is used as a colour.
    canvas.style.color = `var(--${name})`;
    return getComputedStyle(canvas).color;
  };
  return { waiting: colour("waiting"), active: colour("active"), done: colour("done"), skipped: colour("skipped"),
    failed: colour("failed"), waitingForApproval: colour("asks"), surface: colour("surface"), text: colour("text") };
}

/**
 * Draw all cells, state by state; a mark besides the colour tells each from the others.
 * @param {HTMLCanvasElement | null} canvas
 * @param {{states: Uint8Array, indexes: Uint32Array, columns: number, rows: number, cell: number, marked: number | null}} given
 */
function draw(canvas, { states, indexes, columns, rows, cell, marked }) {
  const pen = canvas?.getContext("2d");
  if (!canvas || !pen || !rows) return;
  const scale = devicePixelRatio || 1;
  canvas.width = columns * cell * scale;
  canvas.height = rows * cell * scale;
  canvas.style.width = `${columns * cell}px`;
  canvas.style.height = `${rows * cell}px`;
  pen.scale(scale, scale);
  const colours = palette(canvas);
  const side = cell - 2;
  STATES.forEach((state, code) => {
    pen.fillStyle = colours[state];
    pen.strokeStyle = colours.surface;
    pen.lineWidth = cell >= 14 ? 1.8 : 1.4;
    for (let place = 0; place < indexes.length; place += 1) {
      if (states[indexes[place]] !== code) continue;
      const x = (place % columns) * cell + 1;
      const y = Math.floor(place / columns) * cell + 1;
      pen.fillRect(x, y, side, side);
      MARKS[state]?.(pen, x, y, side);
    }
  });
  if (marked !== null) {
    pen.strokeStyle = colours.text;
    pen.lineWidth = 2;
    pen.strokeRect((marked % columns) * cell + 1, Math.floor(marked / columns) * cell + 1, side, side);
  }
}

/** @type {Partial<Record<typeof STATES[number], (pen: CanvasRenderingContext2D, x: number, y: number, side: number) => void>>} */
const MARKS = {
  failed: (pen, x, y, side) => strokes(pen, [[x + side * 0.25, y + side * 0.25, x + side * 0.75, y + side * 0.75],
    [x + side * 0.75, y + side * 0.25, x + side * 0.25, y + side * 0.75]]),
  active: (pen, x, y, side) => {
    pen.beginPath();
    pen.arc(x + side / 2, y + side / 2, side * 0.2, 0, 7);
    pen.stroke();
  },
  skipped: (pen, x, y, side) => strokes(pen, [[x, y + side, x + side, y]]),
  waitingForApproval: (pen, x, y, side) => strokes(pen, [[x + side / 2, y + side * 0.2, x + side / 2, y + side * 0.8]]),
};

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number[][]} lines
 */
function strokes(pen, lines) {
  pen.beginPath();
  for (const [x, y, toX, toY] of lines) {
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
  }
  pen.stroke();
}

/** Changes whenever the colours do. */
function useTheme() {
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    const changed = () => setChanges((count) => count + 1);
    const look = new MutationObserver(changed);
    look.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", changed);
    return () => {
      look.disconnect();
      system.removeEventListener("change", changed);
    };
  }, []);
  return changes;
}
