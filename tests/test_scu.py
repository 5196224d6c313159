"""The requestor against our own SCP and against peers made by hand (being written by the helper that owns it; see its brief)."""
