"""One task's failure is its own, wherever it runs."""

import math
import os

import pytest
from AttribSegLib.errors import InputError
from AttribSegLib.task_pool import run_tasks
from distributed import LocalCluster


def root_or_die(number):
    if number == 9:
        os._exit(1)  # as the kernel ends a process that is out of memory
    return math.sqrt(number)


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_are_results(jobs):
    found = dict(run_tasks(math.sqrt, [4, -1, 16], jobs=jobs))
    assert found[4] == 2
    assert found[16] == 4
    assert isinstance(found[-1], ValueError)


def test_a_process_that_dies_takes_no_other_task_along():
    squares = [number**2 for number in range(12)]
    found = dict(run_tasks(root_or_die, squares, jobs=2))
    assert {n: found[n] for n in squares if n != 9} == {n: n**0.5 for n in squares if n != 9}
    with pytest.raises(InputError, match="out of memory"):
        raise found[9]


def test_stopping_early_stops_the_rest():
    results = run_tasks(math.sqrt, list(range(50)), jobs=2)
    next(results)
    results.close()
    assert next(results, None) is None


def test_on_a_cluster():
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp"
    )
    with cluster:
        found = dict(run_tasks(math.sqrt, [4, -1, 16], dask=cluster.scheduler_address))
    assert (found[4], found[16]) == (2, 4)
    assert isinstance(found[-1], ValueError)


def test_bad_addresses_and_jobs():
    with pytest.raises(InputError, match=r"nowhere:1.*tcp://host:8786"):
        list(run_tasks(math.sqrt, [1], dask="nowhere:1"))
    with pytest.raises(InputError, match="jobs 0"):
        list(run_tasks(math.sqrt, [1], jobs=0))
