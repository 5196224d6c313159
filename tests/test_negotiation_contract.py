"""What scp_anon uses of pynetdicom and of pydicom's internals (being written by the helper that owns it; see its brief)."""
