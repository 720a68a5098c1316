"""Run one function over many tasks: here, in parallel processes, or on a Dask cluster.

A task that fails gives its exception as a result, even when its process dies (out of memory), and
never stops the rest.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from .errors import Cancelled, InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: How long to wait for a cluster to answer, seconds.
_CLUSTER_TIMEOUT = 15

#: How often a wait is interrupted, and how long processes have to end, seconds.
_AWAKE, _GRACE = 0.5, 3.0

_DIED = "the process died, probably out of memory; use fewer jobs, or a coarser grid"


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int = 1, dask: str = ""
) -> Iterator[tuple[Task, Result | Exception]]:
    """Call a function on every task; pairs come as they are finished.

    Parameters
    ----------
    function : callable
        At the top level of a module, so that another process can import it.
    tasks : sequence
        Small and picklable: paths rather than images.
    jobs : int
        Parallel processes; with 1 everything runs in this one.
    dask : str
        Address of a Dask scheduler, such as ``tcp://node1:8786``, which then decides how many
        tasks run at once. Its workers must see the same files and have this package.

    Raises
    ------
    InputError
        If `distributed` is missing or the scheduler does not answer.
    """
    if jobs < 1:
        raise InputError(f"jobs {jobs}: at least one process was expected")
    if dask:
        return _on_cluster(function, tasks, _connect(dask))
    if jobs == 1:
        return _here(function, tasks)
    return _in_processes(function, tasks, jobs)


def _here(
    function: Callable[[Task], Result], tasks: Sequence[Task]
) -> Iterator[tuple[Task, Result | Exception]]:
    for task in tasks:
        try:
            outcome: Result | Exception = function(task)
        except Cancelled:  # asked for while the task was at work
            raise
        except Exception as error:
            outcome = error
        yield task, outcome


def _in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result | Exception]]:
    left = dict(enumerate(tasks))
    while left:
        for number, outcome in _pool(function, left, min(jobs, len(left))):
            yield left.pop(number), outcome
        # A process died and took the pool along. It worked on one of the first that are left,
        # which go on one by one, each in a process of its own.
        for number in list(left)[: 2 * jobs + 1]:
            task = left.pop(number)
            alone = [outcome for _, outcome in _pool(function, {number: task}, 1)]
            yield task, alone[0] if alone else InputError(_DIED)


def _pool(
    function: Callable[[Task], Result], tasks: dict[int, Task], jobs: int
) -> Iterator[tuple[int, Result | Exception]]:
    """Results by number, until all are there or a process dies.

    Who stops listening, or is interrupted, ends the processes: a task may take minutes.
    """
    others = set(active_children())
    # Forking after SimpleITK has started threads can hang.
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(jobs,)
    ) as pool:
        numbers = {pool.submit(_ended_cleanly, function, t): n for n, t in tasks.items()}
        pending = set(numbers)
        try:
            while pending:
                # Not for ever: on Windows nothing interrupts a wait without an end.
                finished, pending = wait(pending, _AWAKE, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        return
                    if error is not None and not isinstance(error, Exception):
                        raise error
                    yield numbers[future], error or future.result()
        except BaseException:
            _end([child for child in active_children() if child not in others])
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end(children: Sequence[BaseProcess]) -> None:
    """End processes, which may clean up after themselves for a moment."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _GRACE
    for child in children:
        child.join(max(deadline - time.monotonic(), 0.0))
        if child.is_alive():
            child.kill()


class _Ended(BaseException):
    """The process was asked to end."""


def _ended_cleanly(function: Callable[[Task], Result], task: Task) -> Result:
    """Run a task; when the process is asked to end, what it has opened is closed first."""

    def end(number: int, frame: Any) -> None:
        raise _Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        return function(task)
    except _Ended:
        os._exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_worker(jobs: int) -> None:
    """Share the cores, and end when the process that gives the tasks does, however it ended."""
    _limit_threads(jobs)
    parent = parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="follow parent", daemon=True).start()


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "a Dask cluster needs the package distributed; pip install attribseg[dask]"
        ) from error
    try:
        return Client(address, timeout=_CLUSTER_TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"Dask scheduler {address}: no answer ({error}); an address such as "
            "tcp://host:8786 was expected"
        ) from error


def _on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], client: Any
) -> Iterator[tuple[Task, Result | Exception]]:
    from distributed import as_completed as as_completed_there

    with client:
        futures = {client.submit(function, task, pure=False): task for task in tasks}
        try:
            for future in as_completed_there(list(futures)):
                failure = future.exception()
                if failure is not None and not isinstance(failure, Exception):
                    raise failure
                yield futures[future], failure or future.result()
        finally:
            client.cancel(list(futures))


def _limit_threads(jobs: int) -> None:
    """Share the cores between the processes."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    share = max((os.cpu_count() or 1) // jobs, 1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(share)
    threadpool_limits(share)
