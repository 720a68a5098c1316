"""One task's failure is its own, wherever it runs."""

import importlib
import math
import signal
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
from AttribSegLib.errors import Cancelled, InputError
from AttribSegLib.task_pool import run_tasks
from distributed import LocalCluster

#: A module of its own: another process cannot import the tests by the names that they have here.
TASKS = """
import math, os, time
from pathlib import Path
from AttribSegLib.files import atomic_path

def root_or_die(number):
    if number == 9:
        os._exit(1)  # as the kernel ends a process that is out of memory
    return math.sqrt(number)

def write_slowly(path):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        Path(f"{path}.started").touch()
        time.sleep(300)
"""


@pytest.fixture
def pool_tasks(tmp_path_factory, monkeypatch):
    """Functions that other processes can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "pool_tasks.py").write_text(TASKS, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("pool_tasks")
    del sys.modules["pool_tasks"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_are_results(jobs):
    found = dict(run_tasks(math.sqrt, [4, -1, 16], jobs=jobs))
    assert found[4] == 2
    assert found[16] == 4
    assert isinstance(found[-1], ValueError)


def test_a_process_that_dies_takes_no_other_task_along(pool_tasks):
    squares = [number**2 for number in range(12)]
    found = dict(run_tasks(pool_tasks.root_or_die, squares, jobs=2))
    assert {n: found[n] for n in squares if n != 9} == {n: n**0.5 for n in squares if n != 9}
    with pytest.raises(InputError, match="out of memory"):
        raise found[9]


def test_stopping_early_stops_the_rest():
    results = run_tasks(math.sqrt, list(range(50)), jobs=2)
    next(results)
    results.close()
    assert next(results, None) is None


def test_stopping_ends_tasks_at_work_and_what_they_have_opened(tmp_path, pool_tasks):
    """As an interrupt does, which comes while the results are waited for."""
    children = set(active_children())
    paths = [tmp_path / "a", tmp_path / "b"]

    def interrupt():
        limit = time.monotonic() + 120
        while not all(Path(f"{path}.started").exists() for path in paths):
            assert time.monotonic() < limit
            time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(pool_tasks.write_slowly, paths, jobs=2))
    watcher.join()
    assert set(active_children()) <= children
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.started", "b.started"]


def stop_it(number):
    raise Cancelled("asked to")


def test_a_request_to_stop_is_no_task_s_failure():
    with pytest.raises(Cancelled):
        list(run_tasks(stop_it, [1, 2]))


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
