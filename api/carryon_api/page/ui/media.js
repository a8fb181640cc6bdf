/** Artifacts as people look at them: pictures, players, the beginning of a text; anything else is a download. */

import { html, useEffect, useState } from "./element.js";
import { Icon } from "./icons.js";
import { size } from "../model/wording.js";

/** Bytes of a text that are shown: as many as the API gives of one. */
const TEXT_SHOWN = 131_072;
const UNSHOWN = "(can't be shown here: open it or download it)";
/** Names of texts whose type nobody knew when they were made: subtitles, tables, notes. */
const TEXT_NAMES = /\.(txt|md|srt|vtt|ass|csv|tsv|jsonl?|ndjson|ya?ml|xml|toml|ini|log)$/i;

/**
 * How a file is shown.
 * @param {{name: string, contentType: string}} artifact
 */
function kindOf({ name, contentType }) {
  const seen = /^(image|video|audio)\//.exec(contentType)?.[1];
  if (seen) return seen;
  return /^text\/|json|yaml|xml|subrip/.test(contentType) || TEXT_NAMES.test(name) ? "text" : "file";
}

/**
 * The first picture of a unit, small.
 * @param {{unit?: import("../model/types.js").Unit}} props
 */
export function Thumbnail({ unit }) {
  const found = unit?.artifacts.find((artifact) => ["image", "video"].includes(kindOf(artifact)));
  if (!found) return html`<span class="thumb nothing"></span>`;
  if (kindOf(found) === "image") {
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
  const kind = kindOf(artifact);
  return html`<figure class="artifact">
    ${kind === "image" && html`<img src=${artifact.url} alt=${artifact.name} />`}
    ${kind === "video" && html`<video src=${artifact.url} controls preload="metadata" playsinline aria-label=${artifact.name}></video>`}
    ${kind === "audio" && html`<audio src=${artifact.url} controls preload="metadata" aria-label=${artifact.name}></audio>`}
    ${kind === "text" && html`<${TextBeginning} artifact=${artifact} />`}
    <figcaption><${Icon} name="file" /><a class="artifact-name" href=${artifact.url} target="_blank" rel="noopener">${artifact.name}</a>
      <span class="muted">${size(artifact.size)}</span>
      <a class="button small" href=${withQuery(artifact.url, "download")} download=${artifact.name} aria-label=${`Download ${artifact.name}`}>
        <${Icon} name="download" /></a></figcaption>
  </figure>`;
}

/**
 * @param {string} url
 * @param {string} wish
 */
const withQuery = (url, wish) => `${url}${url.includes("?") ? "&" : "?"}${wish}=true`;

/** @param {{artifact: import("../model/types.js").Artifact}} props */
function TextBeginning({ artifact }) {
  const [text, setText] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    const leave = new AbortController();
    // Through the API, also where a bucket hands its files out itself: scripts may not read what other origins have.
    fetch(withQuery(artifact.url, "text"), { signal: leave.signal })
      .then((answer) => (answer.ok ? answer.text() : UNSHOWN))
      .then(setText)
      .catch(() => leave.signal.aborted || setText(UNSHOWN));
    return () => leave.abort();
  }, [artifact.url]);
  return html`<pre class="text-shown" tabindex="0" role="region" aria-label=${artifact.name}>${text ?? "…"}${text !== null
    && artifact.size > TEXT_SHOWN ? "\n…" : ""}</pre>`;
}
