"""Layouts and the folder destination (being written by the helper that owns it; see its brief)."""
