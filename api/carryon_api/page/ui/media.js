/** Artifacts as people look at them: pictures, players, the beginning of a text; anything else is a download. */

import { html, useEffect, useState } from "./element.js";
import { Icon } from "./icons.js";
import { size } from "../model/wording.js";

/** Bytes of a text that are shown. */
const TEXT_SHOWN = 32_768;
const UNSHOWN = "(can't be shown here: open it or download it)";

/** @param {string} type */
const kindOf = (type) => (/^(image|video|audio)\//.exec(type)?.[1] ?? (/^text\/|json|yaml|xml/.test(type) ? "text" : "file"));

/**
 * The first picture of a unit, small.
 * @param {{unit?: import("../model/types.js").Unit}} props
 */
export function Thumbnail({ unit }) {
  const found = unit?.artifacts.find((artifact) => ["image", "video"].includes(kindOf(artifact.contentType)));
  if (!found) return html`<span class="thumb nothing"></span>`;
  if (kindOf(found.contentType) === "image") {
    return html`<span class="thumb"><img src=${found.url} alt="" loading="lazy" decoding="async" /></span>`;
  }
  // A moment in, because many clips begin black; metadata only, so that a grid of clips loads no clip.
  return html`<span class="thumb"><video src=${`${found.url}#t=0.1`} preload="metadata" muted playsinline tabindex="-1" aria-hidden="true"></video>
    <span class="thumb-play"><${Icon} name="play" /></span></span>`;
}

/**
 * One artifact in full.
 * @param {{artifact: import("../model/types.js").Artifact}} props
 */
export function Artifact({ artifact }) {
  const kind = kindOf(artifact.contentType);
  return html`<figure class="artifact">
    ${kind === "image" && html`<img src=${artifact.url} alt=${artifact.name} />`}
    ${kind === "video" && html`<video src=${artifact.url} controls preload="metadata" playsinline aria-label=${artifact.name}></video>`}
    ${kind === "audio" && html`<audio src=${artifact.url} controls preload="metadata" aria-label=${artifact.name}></audio>`}
    ${kind === "text" && html`<${TextBeginning} artifact=${artifact} />`}
    <figcaption><${Icon} name="file" /><a class="artifact-name" href=${artifact.url} target="_blank" rel="noopener">${artifact.name}</a>
      <span class="muted">${size(artifact.size)}</span>
      <a class="button small" href=${withDownload(artifact.url)} download=${artifact.name} aria-label=${`Download ${artifact.name}`}>
        <${Icon} name="download" /></a></figcaption>
  </figure>`;
}

/** @param {string} url */
const withDownload = (url) => `${url}${url.includes("?") ? "&" : "?"}download=true`;

/** @param {{artifact: import("../model/types.js").Artifact}} props */
function TextBeginning({ artifact }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    const leave = new AbortController();
    fetch(artifact.url, { headers: { Range: `bytes=0-${TEXT_SHOWN - 1}` }, signal: leave.signal })
      .then((answer) => (answer.ok ? answer.text() : UNSHOWN))
      .then(setText)
      // A bucket that hands its files out itself need not let scripts of other origins read them.
      .catch(() => leave.signal.aborted || setText(UNSHOWN));
    return () => leave.abort();
  }, [artifact.url]);
  return html`<pre class="text-shown" tabindex="0" role="region" aria-label=${artifact.name}>${text ?? "…"}${text !== null
    && artifact.size > TEXT_SHOWN ? "\n…" : ""}</pre>`;
}
