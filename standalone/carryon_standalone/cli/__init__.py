"""The `carryon` command, and `kubectl carryon`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name; as kubectl's plug-in where that is what was called."""
    if sys.platform != "linux":
        sys.exit(f"carryon runs on Linux and in WSL2, not on {sys.platform}: use a cluster, or a Linux machine")
    from carryon_jobs.errors import BadRequest, JobError
    from carryon_standalone.cli import app
    from carryon_standalone.cli.errors import FAILED, USAGE, CommandError
    from carryon_standalone.cli.naming import as_typed
    from carryon_standalone.cli.options import program
    from carryon_standalone.home import StartFailed

    try:
        if program() == "carryon":
            app.carryon()(prog_name="carryon")
        else:
            app.kubectl_carryon()(prog_name="kubectl carryon")
    except StartFailed as error:
        print(as_typed(str(error)), file=sys.stderr)
        sys.exit(FAILED)
    except CommandError as error:
        print(as_typed(str(error)), file=sys.stderr)
        sys.exit(error.code)
    except JobError as error:
        print(as_typed(str(error)), file=sys.stderr)
        sys.exit(USAGE if isinstance(error, BadRequest) else FAILED)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(1)
