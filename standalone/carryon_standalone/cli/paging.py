"""The page of this machine's control plane: where it is, and how its owner is signed in.

The address that signs in carries the token behind its #, which no browser sends to anybody. It is never handed to the
browser as an argument, where everybody on the machine could read it in the list of processes: what is opened is a file
for its owner only that leads there.
"""

from __future__ import annotations

import json
import webbrowser
from typing import Final
from urllib.parse import quote

from carryon_standalone.cli.errors import CommandError
from carryon_standalone.home import Home, Running, Settings, write_private
from carryon_standalone.supervisor import page_at

_LEADING: Final = """\
<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<title>Carryon</title>
<script>location.replace({address})</script>
<noscript>The page needs JavaScript.</noscript>
"""


def address(home: Home) -> str | None:
    """Address of the page; None while there is none."""
    running, settings = Running.load(home), Settings.load(home)
    if running is None or not running.page or settings.page is None:
        return None
    return page_at(settings.page)


def signing_in(home: Home) -> str:
    """Address of the page that signs its owner in.

    Raises:
        CommandError: There is none.
    """
    found = address(home)
    if found is None:
        running = Running.load(home)
        if running is None or not running.ready:
            raise CommandError(f"no control plane runs in {home.root}: start one with `{home.command('up')}`")
        raise CommandError(
            "there is no page, because its server is not installed: install Carryon with its extra `api`, then"
            f" `{home.command('down')}` and `{home.command('up')}`"
        )
    return f"{found}#token={quote(home.token.read_text().strip(), safe='')}"


def open_page(home: Home) -> str:
    """Open the page in the browser, signed in; returns its address.

    Raises:
        CommandError: There is no page, or no browser.
    """
    target = signing_in(home)
    # "<" is no part of an address, but of a script's end.
    write_private(home.page, _LEADING.format(address=json.dumps(target).replace("<", "\\u003c")))
    if not webbrowser.open(home.page.as_uri()):
        raise CommandError(f"no browser could be started: open {target} in one of this machine")
    return target.partition("#")[0]
