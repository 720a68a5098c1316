"""Run one function over many tasks: here, in parallel processes, or on a Dask cluster.

A task that fails gives its exception as a result, even when its process dies (out of memory), and
never stops the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from .errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: How long to wait for a cluster to answer, seconds.
_CLUSTER_TIMEOUT = 15

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
            yield task, function(task)
        except Exception as error:
            yield task, error


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
    """Results by number, until all are there or a process dies."""
    # Forking after SimpleITK has started threads can hang.
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(jobs,)
    ) as pool:
        numbers = {pool.submit(function, task): number for number, task in tasks.items()}
        try:
            for future in as_completed(numbers):
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    return
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield numbers[future], error or future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
