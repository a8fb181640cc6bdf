"""`python -m carryon_standalone` is the `carryon` command."""

from carryon_standalone.cli import main

if __name__ == "__main__":
    main()
