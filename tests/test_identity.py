"""The key and the keyed functions (being written by the helper that owns it; see its brief)."""
