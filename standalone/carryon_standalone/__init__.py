"""Carryon on one machine: an API server on SQLite, a kubelet of processes, and the command that starts them."""
