/** The one place that knows which library renders. Everything put into a template becomes text: nothing is markup. */

import { html, render, useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback } from "../vendor/preact-htm.js";

export { html, render, useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback };

let last = 0;

/**
 * An id that no other element of the page has.
 * @param {string} of
 */
export function useId(of) {
  return useMemo(() => `${of}-${(last += 1)}`, []);
}

/**
 * The time, looked at again every so many milliseconds.
 * @param {number} [every]
 */
export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/**
 * Sets the title of the window while a view is shown.
 * @param {string} title
 */
export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} · Carryon` : "Carryon";
  }, [title]);
}
