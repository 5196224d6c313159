"""The version of scp-anon: the one place where it stands."""

VERSION = "0.1.0"
