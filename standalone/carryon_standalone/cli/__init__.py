"""The `carryon` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    if sys.platform != "linux":
        sys.exit(f"carryon runs on Linux and in WSL2, not on {sys.platform}: use a cluster, or a Linux machine")
    from carryon_jobs.errors import BadRequest, JobError
    from carryon_standalone.cli.app import app
    from carryon_standalone.cli.errors import FAILED, USAGE, CommandError
    from carryon_standalone.home import StartFailed

    try:
        app()
    except StartFailed as error:
        print(error, file=sys.stderr)
        sys.exit(FAILED)
    except CommandError as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
    except JobError as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE if isinstance(error, BadRequest) else FAILED)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(1)
