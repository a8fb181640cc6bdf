/** The live events, kept open: an EventSource that is opened anew when it ends, and says when nothing can be heard. */

const TYPES = ["snapshot", "job", "deleted", "status", "progress", "expired"];
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;

export class Stream {
  /**
   * @param {object} given
   * @param {(event: {type: string, data: any}) => void} given.onEvent
   * @param {(state: "connecting" | "live" | "lost") => void} given.onState
   * @param {() => Promise<boolean>} given.mayRetry Whether another try makes sense; false while nobody is signed in.
   */
  constructor({ onEvent, onState, mayRetry }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.mayRetry = mayRetry;
    this.wait = FIRST_WAIT;
    /** @type {EventSource | null} */
    this.source = null;
    this.timer = 0;
    this.path = "";
  }

  /**
   * Listen to a path below /api/v1, instead of what was listened to before.
   * @param {string} path
   */
  open(path) {
    this.close();
    this.path = path;
    const source = new EventSource(`/api/v1${path}`);
    this.source = source;
    source.onopen = () => {
      this.wait = FIRST_WAIT;
      this.onState("live");
    };
    for (const type of TYPES) {
      source.addEventListener(type, (event) => this.onEvent({ type, data: JSON.parse(event.data) }));
    }
    source.onerror = () => {
      this.onState("lost");
      // The browser itself tries again after a lost connection, but never after an answer such as 401 or 503.
      if (source.readyState === EventSource.CLOSED) this.#again();
    };
  }

  /** Hear nothing any more. */
  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #again() {
    this.source = null;
    const path = this.path;
    this.timer = setTimeout(async () => {
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
      if ((await this.mayRetry()) && this.source === null && this.path === path) this.open(path);
    }, this.wait);
  }
}
