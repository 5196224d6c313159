"""The processes of a run: files go to them some at a time, outcomes come back in the order of the files."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Final

from scp_anon.batch.files import Input
from scp_anon.batch.work import Job, Outcome, Worker
from scp_anon.errors import Reason

_CHUNK: Final = 32  # files that are handed to a process at a time
_AHEAD: Final = 4  # chunks that wait for each process

Chunk = list[Input | Outcome]


def context() -> BaseContext:
    """How processes are started: a fork has the engine that has just been made."""
    return get_context("fork" if "fork" in get_all_start_methods() else None)


def run(job: Job, files: Iterable[Input | Outcome], processes: int) -> Generator[Outcome]:
    """De-identify the files, in as many processes; yields what became of each, in their order. Memory stays flat.

    What is an outcome already passes through. A file that ends the process that works on it is quarantined.
    """
    if processes == 1:
        for file in files:
            yield file if isinstance(file, Outcome) else Worker.current.outcome(file)
        return
    remaining = iter(files)
    ahead: deque[tuple[Chunk, Future[list[Outcome]]]] = deque()
    lost: deque[Chunk] = deque()
    while True:
        with _pool(job, processes) as pool:
            ahead.extend((chunk, pool.submit(_outcomes, chunk)) for chunk in lost)
            lost.clear()
            while not lost:
                while len(ahead) < processes * _AHEAD and (chunk := list(islice(remaining, _CHUNK))):
                    ahead.append((chunk, pool.submit(_outcomes, chunk)))
                if not ahead:
                    return
                chunk, future = ahead.popleft()
                try:
                    outcomes = future.result()
                except BrokenExecutor:
                    lost.extend((chunk, *(waiting for waiting, _ in ahead)))
                    ahead.clear()
                else:
                    yield from outcomes
        for file in lost.popleft():
            yield _alone(job, file)


@contextmanager
def _pool(job: Job, processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for the time of the block; what has not been begun by then is given up."""
    pool = ProcessPoolExecutor(processes, context(), Worker.start, (job, os.getpid()))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _outcomes(files: Chunk) -> list[Outcome]:
    """What became of some files, in one of the processes."""
    return [file if isinstance(file, Outcome) else Worker.current.outcome(file) for file in files]


def _alone(job: Job, file: Input | Outcome) -> Outcome:
    """What became of a file that may be one that ends the process that works on it."""
    if isinstance(file, Outcome):
        return file
    try:
        with _pool(job, 1) as pool:
            return pool.submit(_outcomes, [file]).result()[0]
    except BrokenExecutor:
        ended = Outcome(file.path, "quarantined", None, str(Reason.TOO_MANY_ATTEMPTS), 0)
        return Worker.current.set_aside(ended)
