/** The page: a frame around the view that the address names. */

import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./ui/element.js";
import { Banner, Toasts } from "./ui/notices.js";
import { Icon } from "./ui/icons.js";
import { Dialog } from "./ui/dialog.js";
import { DropTarget } from "./ui/drop.js";
import { route } from "./model/route.js";
import { complain, watchExports } from "./acting.js";
import { askFirst, followAddress } from "./leaving.js";
import { begin, signOut } from "./session.js";
import { useStore } from "./state.js";
import { JobsView } from "./views/jobs.js";
import { JobView } from "./views/job.js";
import { ImportView } from "./views/import.js";
import { AnalyticsView } from "./views/analytics.js";
import { EditView, NewView } from "./views/editor.js";
import { SignInDialog, SignInPage } from "./views/signin.js";

function App() {
  const [at, setAt] = useState(() => route(location.hash));
  const [signing, setSigning] = useState(false);
  const session = useStore((state) => state.session);
  useLayoutEffect(() => followAddress((hash) => setAt(route(hash))), []);
  useEffect(() => {
    if (session.state === "in") setSigning(false);
  }, [session.state]);
  useNewView(at);
  // Whoever was signed in keeps what is on the screen; a stranger sees nothing.
  if (session.state === "out" && !session.user) return html`<${SignInPage} /><${Toasts} />`;
  return html`
    <a class="skip" href="#main" onClick=${skip}>To the content</a>
    <${TopBar} at=${at} session=${session} />
    <${Banner} onSignIn=${() => setSigning(true)} />
    <${DropTarget}>${session.user && html`<${View} at=${at} />`}<//>
    <${Toasts} />
    <${Leaving} />
    ${signing && html`<${SignInDialog} onClose=${() => setSigning(false)} />`}`;
}

/** Asks before what is not saved is left. */
function Leaving() {
  const leaving = useStore((state) => state.leaving);
  if (leaving === null) return null;
  return html`<${Dialog} title="Leave without saving?" onClose=${leaving.stay} actions=${html`
      <button class="button" type="button" onClick=${leaving.stay}>Stay</button>
      <button class="button danger solid" type="button" onClick=${leaving.go}>Leave</button>`}>
    <p>${leaving.what} is not saved: what you have written would be lost.</p>
  <//>`;
}

/**
 * A new view begins at its top, and with the keyboard in it.
 * @param {import("./model/route.js").Route} at
 */
function useNewView(at) {
  const shown = at.view === "job" || at.view === "edit" ? `${at.view}/${at.namespace}/${at.name}` : at.view;
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) {
      scrollTo(0, 0);
      document.getElementById("main")?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [shown]);
}

/** The fragment is the route, so that following it would leave the view. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @param {{at: import("./model/route.js").Route}} props */
function View({ at }) {
  if (at.view === "job") {
    return html`<${JobView} key=${`${at.namespace}/${at.name}`} namespace=${at.namespace} name=${at.name} unit=${at.unit} />`;
  }
  if (at.view === "edit") return html`<${EditView} key=${`${at.namespace}/${at.name}`} namespace=${at.namespace} name=${at.name} />`;
  if (at.view === "new") return html`<${NewView} />`;
  if (at.view === "import") return html`<${ImportView} />`;
  if (at.view === "analytics") return html`<${AnalyticsView} />`;
  return html`<${JobsView} />`;
}

/** @param {{at: import("./model/route.js").Route, session: import("./state.js").State["session"]}} props */
function TopBar({ at, session }) {
  const here = (/** @type {boolean} */ is) => (is ? "page" : undefined);
  return html`<header class="top">
    <a class="brand" href="#/"><img src="icon.svg" alt="" width="24" height="24" />Carryon</a>
    <nav aria-label="Main">
      <a href="#/" aria-current=${here(at.view === "jobs")}>Jobs</a>
      <a href="#/new" aria-current=${here(at.view === "new")}>New<span class="unless-narrow"> job</span></a>
      <a href="#/import" aria-current=${here(at.view === "import")}>Import</a>
      <a href="#/analytics" aria-current=${here(at.view === "analytics")}>Analytics</a>
    </nav>
    <div class="top-end">
      <${Liveness} />
      <${ThemeSwitch} />
      ${session.state === "in" && session.mode !== "standalone" && html`
        <button class="plain" aria-label=${`Sign out ${session.user}`} title=${`Sign out ${session.user}`}
          onClick=${() => askFirst(() => signOut().catch(complain))}><${Icon} name="leave" /></button>`}
    </div>
  </header>`;
}

function Liveness() {
  const state = useStore((all) => (all.session.state === "out" ? "lost" : all.stream.state));
  const said = { live: "Live", connecting: "Connecting", lost: "Not live" }[state];
  return html`<span class=${`liveness ${state}`}><span class="dot"></span>${said}</span>`;
}

function ThemeSwitch() {
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const [theme, setTheme] = useState(() => document.documentElement.dataset.theme || system());
  const other = theme === "dark" ? "light" : "dark";
  const change = () => {
    document.documentElement.dataset.theme = other;
    localStorage.setItem("carryon-theme", other);
    setTheme(other);
  };
  return html`<button class="plain" aria-label=${`Change to ${other} colours`} title=${`Change to ${other} colours`}
    onClick=${change}><${Icon} name=${theme === "dark" ? "sun" : "moon"} /></button>`;
}

render(html`<${App} />`, document.body);
watchExports();
begin();
