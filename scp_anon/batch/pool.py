"""The processes of a run: files go to them some at a time, what becomes of them comes back in their order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Final, TypeVar

from scp_anon.batch.files import Input
from scp_anon.batch.work import Job, Outcome, Worker
from scp_anon.errors import Reason

_CHUNK: Final = 32  # files that are handed to a process at a time
_AHEAD: Final = 4  # chunks that wait for each process
_LOOK: Final = 0.5  # seconds between looks whether the parent process is there

T = TypeVar("T")
U = TypeVar("U")


def context() -> BaseContext:
    """How processes are started: a fork has the engine that has just been made."""
    return get_context("fork" if "fork" in get_all_start_methods() else None)


def run(job: Job, files: Iterable[Input | Outcome], processes: int) -> Generator[Outcome]:
    """De-identify the files, in as many processes; yields what became of each, in their order. Memory stays flat.

    What is an outcome already passes through. A file that ends the process that works on it is quarantined.
    """
    return spread(files, processes, _outcome, _ended, partial(Worker.start, job))


def spread(
    items: Iterable[T],
    processes: int,
    work: Callable[[T], U],
    ended: Callable[[T], U],
    start: Callable[[], None],
    chunk_size: int = _CHUNK,
) -> Generator[U]:
    """What `work` makes of each item, in as many processes, in their order. Memory stays flat.

    `start` is called in each process first; where one is enough it is this one, which has started. `ended`: what
    becomes of an item that ends the process that works on it.
    """
    if processes == 1:
        yield from map(work, items)
        return
    remaining = iter(items)
    ahead: deque[tuple[list[T], Future[list[U]]]] = deque()
    lost: deque[list[T]] = deque()
    while True:
        with _pool(processes, start) as pool:
            ahead.extend((chunk, pool.submit(_all, work, chunk)) for chunk in lost)
            lost.clear()
            while not lost:
                while len(ahead) < processes * _AHEAD and (chunk := list(islice(remaining, chunk_size))):
                    ahead.append((chunk, pool.submit(_all, work, chunk)))
                if not ahead:
                    return
                chunk, future = ahead.popleft()
                try:
                    made = future.result()
                except BrokenExecutor:
                    lost.extend((chunk, *(waiting for waiting, _ in ahead)))
                    ahead.clear()
                else:
                    yield from made
        for item in lost.popleft():
            try:
                with _pool(1, start) as pool:
                    made = pool.submit(_all, work, [item]).result()
            except BrokenExecutor:
                made = [ended(item)]
            yield from made


@contextmanager
def _pool(processes: int, start: Callable[[], None]) -> Iterator[ProcessPoolExecutor]:
    """Processes for the time of the block; what has not been begun by then is given up."""
    pool = ProcessPoolExecutor(processes, context(), _begin, (os.getpid(), start))
    try:
        with uninterrupted():
            pool.submit(_nothing)  # by which all of them are started
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int, start: Callable[[], None]) -> None:
    """Begin one of the processes, whose end is to be that of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told as well, and decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    start()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and does nothing to processes that are started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    """Work for nobody."""


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, by which nobody is left to take what it does."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _all(work: Callable[[T], U], chunk: list[T]) -> list[U]:
    """What is made of some items, in one of the processes."""
    return [work(item) for item in chunk]


def _outcome(file: Input | Outcome) -> Outcome:
    return file if isinstance(file, Outcome) else Worker.current.outcome(file)


def _ended(file: Input | Outcome) -> Outcome:
    if isinstance(file, Outcome):
        return file
    return Worker.current.set_aside(Outcome(file.path, "quarantined", None, str(Reason.TOO_MANY_ATTEMPTS), 0))
