/** Icons as strokes on a grid of 24. They say nothing by themselves: a label always stands beside them. */

import { html } from "./element.js";

const PATHS = {
  play: "M7 5v14l12-7z",
  pause: "M8 5v14M16 5v14",
  refresh: "M20 11a8 8 0 0 0-14.3-4.3L4 8.5M4 4v4.5h4.5M4 13a8 8 0 0 0 14.3 4.3l1.7-1.8M20 20v-4.5h-4.5",
  stop: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18zM9 9l6 6M15 9l-6 6",
  retry: "M4 12a8 8 0 1 1 2.6 5.9M4 19v-5h5",
  pencil: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  redo: "M12 4l1.6 4.4L18 10l-4.4 1.6L12 16l-1.6-4.4L6 10l4.4-1.6zM19 15v4M17 17h4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  export: "M12 15V4M8 8l4-4l4 4M5 14v5h14v-5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  download: "M12 4v11M8 11l4 4l4-4M5 19h14",
  plus: "M12 5v14M5 12h14",
  cross: "M6 6l12 12M18 6L6 18",
  sun: "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  moon: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  dots: "M5 5h2v2H5zM11 5h2v2h-2zM17 5h2v2h-2zM5 11h2v2H5zM11 11h2v2h-2zM17 11h2v2h-2zM5 17h2v2H5zM11 17h2v2h-2zM17 17h2v2h-2z",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  alert: "M12 4L2.5 20h19zM12 10v4M12 17h.01",
  clock: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18zM12 7v5l3 2",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  lifebuoy: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18zM12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM5.6 5.6l3.6 3.6M14.8 14.8l3.6 3.6M5.6 18.4l3.6-3.6M14.8 9.2l3.6-3.6",
  back: "M15 5l-7 7l7 7",
  search: "M11 4a7 7 0 1 0 0 14a7 7 0 0 0 0-14zM16 16l4 4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  leave: "M14 4h5v16h-5M10 8l-4 4l4 4M6 12h9",
  hourglass: "M7 3h10M7 21h10M8 3v4l4 5l-4 5v4M16 3v4l-4 5l4 5v4",
};

/**
 * @param {{name: string, filled?: boolean}} props
 */
export function Icon({ name }) {
  const filled = name === "play";
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[/** @type {keyof typeof PATHS} */ (name)] ?? ""} class=${filled ? "filled" : ""} />
  </svg>`;
}
