"""The configuration: every setting, and every fault by file, line and path (being written by the helper that owns it; see its brief)."""
