"""`python -m scp_anon`: the same as the command `scp-anon`."""

from scp_anon.cli import main

main()
