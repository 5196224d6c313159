"""The command line from outside (being written by the helper that owns it; see its brief)."""
