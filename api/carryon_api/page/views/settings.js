/** The settings of a job, as it was written. */

import { html, useEffect, useState } from "../ui/element.js";
import { useManifest } from "./manifest-of.js";
import { toJob } from "../model/route.js";
import { bare, summary } from "../model/manifest.js";

/** @param {{job: import("../model/types.js").ProcessStatus}} props */
export function Settings({ job }) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const manifest = useManifest(job, () => open);
  useEffect(() => {
    if (manifest) import("../yaml.js").then(({ dump }) => setText(dump(bare(manifest))));
  }, [manifest]);
  return html`<details class="card settings" onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}>
    <summary><h2>Settings</h2></summary>
    ${manifest && html`<div class="settings-body">
      <dl class="facts">${summary(manifest).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      <pre class="text-shown" tabindex="0" role="region" aria-label="The job as YAML">${text}</pre>
      <p><a class="button small" href=${toJob(job, "edit")}>Edit these settings</a></p></div>`}
  </details>`;
}
