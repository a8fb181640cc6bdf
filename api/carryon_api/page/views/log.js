/** The end of a unit's log, followed while it is written. */

import { html, useEffect, useRef, useState } from "../ui/element.js";
import { Problem, textOf } from "../net/api.js";

const LINES = 200;
/** Milliseconds between two looks at a log that is being written. */
const LOOK_EVERY = 3000;

/** @param {{url: string, live: boolean}} props */
export function Log({ url, live }) {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const leave = new AbortController();
    let timer = 0;
    const look = async () => {
      try {
        setText(await textOf(`${url}${url.includes("?") ? "&" : "?"}tailLines=${LINES}`, leave.signal));
        setProblem("");
      } catch (error) {
        if (leave.signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        setProblem(error.message);
      }
      if (live) timer = setTimeout(look, LOOK_EVERY);
    };
    look();
    return () => {
      clearTimeout(timer);
      leave.abort();
    };
  }, [url, live]);
  useEffect(() => {
    const { current } = box;
    if (current) current.scrollTop = current.scrollHeight;
  }, [text]);
  return html`<div class="log">
    <h3>Log${live && html` <span class="muted">followed</span>`}</h3>
    ${problem ? html`<p class="muted">${problem}</p>`
      : html`<pre ref=${box} tabindex="0" role="region" aria-label="End of the log">${text || "(nothing written)"}</pre>`}
  </div>`;
}
