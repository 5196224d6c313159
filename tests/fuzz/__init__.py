"""Fuzzing with atheris: `make fuzz`, or `python -m tests.fuzz` for all harnesses, one process each.

    engine         a data set, or a file, through the engine
    data_phase     what a peer sends, from the A-ASSOCIATE-RQ or in the data phase, through the service provider
    associate      an A-ASSOCIATE-RQ, read and answered
    headers        File Meta Information, command sets

Each is a module with `check(data)`, which raises for a finding, and `seeds()`. A finding becomes a kind in
`tests.hostile`, or a test of the module that it is in.
"""
