"""The tests of scp-anon. Peers are real ones from Debian; images are real ones where `../shared/corpus` is at hand."""
