/** The whole window takes an archive that is dropped on it. */

import { html, useEffect, useState } from "./element.js";
import { update } from "../state.js";

/** @param {DataTransfer | null} given */
const carriesFiles = (given) => Boolean(given?.types.includes("Files"));

/**
 * Files dropped anywhere that nothing else takes: an archive opens the import.
 * @param {{children?: any}} props
 */
export function DropTarget({ children }) {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const enter = (/** @type {DragEvent} */ event) => carriesFiles(event.dataTransfer) && setOver((depth += 1) > 0);
    const leave = () => setOver((depth = Math.max(0, depth - 1)) > 0);
    const move = (/** @type {DragEvent} */ event) => carriesFiles(event.dataTransfer) && event.preventDefault();
    const drop = (/** @type {DragEvent} */ event) => {
      depth = 0;
      setOver(false);
      if (event.defaultPrevented || !carriesFiles(event.dataTransfer)) return;
      event.preventDefault();
      const [file] = event.dataTransfer?.files ?? [];
      if (file) chooseArchive(file);
    };
    const heard = /** @type {const} */ ([["dragenter", enter], ["dragleave", leave], ["dragover", move], ["drop", drop]]);
    for (const [type, listener] of heard) addEventListener(type, listener);
    return () => heard.forEach(([type, listener]) => removeEventListener(type, listener));
  }, []);
  return html`${children}${over && html`<div class="drop-veil" aria-hidden="true"><p>Drop a .carryon archive to look at it</p></div>`}`;
}

/**
 * Look at an archive before it becomes a job.
 * @param {File} file
 */
export function chooseArchive(file) {
  update({ archive: file });
  location.hash = "#/import";
}

/**
 * A zone for files: to drop on, or to press.
 * @param {{label: string, hint: string, accept?: string, multiple?: boolean, onFiles: (files: File[]) => void}} props
 */
export function DropZone({ label, hint, accept, multiple, onFiles }) {
  const [over, setOver] = useState(false);
  const drop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    setOver(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) onFiles(files);
  };
  const chosen = (/** @type {any} */ event) => {
    onFiles([...event.target.files]);
    event.target.value = "";
  };
  return html`<label class=${`drop-zone ${over ? "over" : ""}`} onDragOver=${(/** @type {DragEvent} */ event) => { event.preventDefault(); setOver(true); }}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <input type="file" accept=${accept} multiple=${multiple} onChange=${chosen} />
    <strong>${label}</strong><span class="muted">${hint}</span>
  </label>`;
}
