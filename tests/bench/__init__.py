"""What Carryon costs, measured: `make bench`. Every number is held against a baseline of the same run."""
