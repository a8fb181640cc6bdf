/** Input files of a job: dropped here, they lie in its bucket, and a param may name them. */

import { html, useState } from "../ui/element.js";
import { DropZone } from "../ui/drop.js";
import { Icon } from "../ui/icons.js";
import { complain } from "../acting.js";
import { jobPath } from "../net/api.js";
import { upload } from "../net/upload.js";
import { toast } from "../state.js";

/** @param {{job: {namespace: string, name: string}}} props */
export function Inputs({ job }) {
  const [files, setFiles] = useState(/** @type {{name: string, share: number, uri: string}[]} */ ([]));
  const change = (/** @type {string} */ name, /** @type {object} */ part) =>
    setFiles((now) => now.map((each) => (each.name === name ? { ...each, ...part } : each)));
  const send = async (/** @type {File[]} */ chosen) => {
    for (const file of chosen) {
      setFiles((now) => [...now.filter((each) => each.name !== file.name), { name: file.name, share: 0, uri: "" }]);
      try {
        const { uri } = await upload("PUT", jobPath(job, "inputs", file.name), file, (share) => change(file.name, { share }));
        change(file.name, { share: 1, uri });
      } catch (error) {
        setFiles((now) => now.filter((each) => each.name !== file.name));
        complain(error);
      }
    }
  };
  const copy = async (/** @type {string} */ uri) => {
    await navigator.clipboard.writeText(JSON.stringify({ file: uri }));
    toast("done", "copied: paste it as the value of a param");
  };
  return html`<section class="card form-card inputs"><h2>Input files</h2>
    <${DropZone} label="Drop files here, or choose them" hint="Pictures, masks, audio, video: a param names them as {file: uri}." multiple onFiles=${send} />
    <ul aria-live="polite">${files.map((file) => html`<li key=${file.name}><${Icon} name="file" /><span class="artifact-name">${file.name}</span>
      ${file.uri ? html`<button type="button" class="button small" onClick=${() => copy(file.uri)}><${Icon} name="copy" /> Copy</button><code>${file.uri}</code>`
        : html`<progress max="1" value=${file.share} aria-label=${`Upload of ${file.name}`}></progress>`}</li>`)}</ul></section>`;
}
