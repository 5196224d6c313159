"""Benchmarks: programs that compare with a peer in the same run and print ratios. Never timed tests."""
