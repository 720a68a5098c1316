"""Commands in processes of their own: watched, stopped, killed, resumed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from AttribSegLib.bundle import load_bundle
from AttribSegLib.errors import InputError
from AttribSegLib.job_process import child_environment
from AttribSegLib.jobs import Job, python_executable, running_job


def watch(job, until=lambda event: False, *, seconds=300):
    """Poll until an event or the end."""
    deadline, seen = time.monotonic() + seconds, []
    while not job.ended and not any(map(until, seen)):
        assert time.monotonic() < deadline, (job.state, seen[-3:])
        seen += job.poll()
        time.sleep(0.01)
    return seen


def kinds(events):
    return [event["event"] for event in events]


@pytest.fixture
def started():
    """Jobs that a test starts; none outlives it."""
    jobs = []

    def start(*arguments, folder, **options):
        job = Job([*map(str, arguments)], folder=folder, **options)
        jobs.append(job)
        job.start()
        return job

    yield start
    for job in jobs:
        job.kill()


def program(folder, text):
    """A package whose ``-m`` runs a text."""
    (folder / "scripted").mkdir()
    (folder / "scripted" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "scripted" / "__main__.py").write_text(text, encoding="utf-8")


@pytest.fixture
def scripted(tmp_path, monkeypatch, started):
    """``scripted(text)``: a job that runs a text instead of a command."""

    def start(text, **options):
        program(tmp_path, text)
        monkeypatch.syspath_prepend(tmp_path)
        return started("train", folder=tmp_path / "job", program="scripted", **options)

    return start


def test_a_command_to_its_end(tmp_path, tiny_table, started):
    job = started("cohort", tiny_table, folder=tmp_path / "new" / "job", title="Check")
    assert running_job() is job
    assert job.state == "running"
    events = watch(job)
    assert (job.state, job.exit_code, job.failure) == ("finished", 0, None)
    assert running_job() is None
    assert kinds(events)[-1] == "done"
    assert events[-1]["summary"]["cases"] == 14
    assert list(job.events) == events
    assert job.progress == 1.0
    log = job.log_path.read_text(encoding="utf-8").splitlines()
    assert "-m AttribSegLib cohort" in log[0]
    assert [json.loads(line) for line in log[1:]] == events
    assert job.poll() == []
    with pytest.raises(InputError, match="started before"):
        job.start()


def test_a_poll_waits_for_nothing(scripted):
    job = scripted("import time\ntime.sleep(600)")
    assert job.poll() == []
    assert job.state == "running"


def test_bad_input_is_the_failure(tmp_path, started):
    job = started("cohort", tmp_path / "none.csv", folder=tmp_path)
    watch(job)
    assert (job.state, job.exit_code) == ("failed", 2)
    assert job.failure.message.startswith(f"{tmp_path / 'none.csv'}: no such file")


def test_lines_that_are_no_events_are_the_log(scripted):
    lines = ["{broken", '{"no": "event"}', '{"event": 3}', "[1]", "über"]
    job = scripted(
        f"import sys\nfor line in {[*lines, json.dumps({'event': 'load'})]}: print(line)\n"
        "sys.stdout.flush(); print('aside', file=sys.stderr)"
    )
    events = watch(job)
    logged = [event["text"] for event in events if event["event"] == "log"]
    assert sorted(logged) == sorted([*lines, "aside"])
    assert [text for text in logged if text != "aside"] == lines
    assert [event for event in events if event["event"] != "log"] == [{"event": "load"}]
    assert set(logged) < set(job.log_path.read_text(encoding="utf-8").splitlines())


def test_a_crash_and_its_log(scripted):
    job = scripted("import os\nprint('before', flush=True)\nos.kill(os.getpid(), 9)")
    watch(job)
    assert (job.state, job.exit_code) == ("failed", -9)
    assert "memory ran out" in job.failure.message
    assert job.log_path.read_text(encoding="utf-8").splitlines()[1:] == ["before"]


def test_much_output_is_bounded_and_complete(scripted):
    job = scripted("for i in range(20000): print(f'line {i}')")
    events, most = [], 0
    while not job.ended:
        now = job.poll()
        most = max(most, len(now))
        events += now
    assert most <= 1000
    assert [event["text"] for event in events] == [f"line {i}" for i in range(20000)]
    assert len(job.events) == 5000


def test_two_jobs_at_once_are_refused(tmp_path, scripted):
    job = scripted("import sys; sys.stdin.read()", title="The first")
    with pytest.raises(InputError, match=r"Second: The first is still running"):
        Job(["cohort"], folder=tmp_path / "b", title="Second").start()
    assert not (tmp_path / "b").exists()
    job.kill()
    assert job.state == "stopped"
    assert running_job() is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"python": "/nowhere/python"}, "cannot be started"), ({"program": "nothing"}, "'nothing'")],
)
def test_what_cannot_be_started(tmp_path, options, expected):
    job = Job(["cohort"], folder=tmp_path, **options)
    with pytest.raises(InputError, match=expected):
        job.start()
    assert job.state == "ready"
    assert running_job() is None


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        Job(["cohort"], folder=tmp_path / "file").start()


def train(table, out, options, *more):
    return ["train", table, "--out", out, *options, *more]


def test_a_training_is_stopped_and_goes_on(tmp_path, tiny_table, tiny_training, started):
    options = [*tiny_training, "--epochs", "60"]
    arguments = train(tiny_table, tmp_path / "bundle", options)
    job = started(*arguments, folder=tmp_path / "job")
    events = watch(job, lambda event: event["event"] == "epoch")
    assert 0.05 < job.progress < 0.95
    assert job.seconds_left > 0
    job.stop()
    assert job.state == "stopping"
    events += watch(job)
    assert (job.state, job.exit_code, job.failure) == ("stopped", 130, None)
    assert any("whole epochs are saved" in event.get("text", "") for event in events)
    done = kinds(events).count("epoch")
    assert 1 <= done < 60
    again = started(*arguments, "--resume", "--epochs", "60", folder=tmp_path / "job")
    seen = watch(again, lambda event: event["event"] == "epoch")
    assert seen[-1]["epoch"] == done + 1
    again.kill()
    assert again.state == "stopped"
    # Both runs are in one log.
    assert again.log_path.read_text(encoding="utf-8").count(" -m AttribSegLib train ") == 2


def test_a_finished_training(tmp_path, tiny_table, tiny_training, started):
    arguments = train(tiny_table, tmp_path / "bundle", tiny_training)
    job = started(*arguments, folder=tmp_path / "bundle")
    shares = []
    while not job.ended:
        if job.poll():
            shares.append(job.progress)
    assert job.state == "finished"
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert known[-1] == 1.0
    assert job.seconds_left == 0.0
    assert load_bundle(tmp_path / "bundle").channels == ("FLAIR",)


def test_a_training_ends_when_its_owner_dies(tmp_path, tiny_table, tiny_training):
    """The owner is killed; the training sees the end of its input, saves and stops."""
    arguments = train(str(tiny_table), str(tmp_path / "b"), tiny_training, "--epochs", "500")
    code = f"""
import time
from pathlib import Path
from AttribSegLib.jobs import Job
job = Job({arguments!r}, folder=Path({str(tmp_path / "job")!r}))
job.start()
while not any(event["event"] == "epoch" for event in job.poll()):
    time.sleep(0.01)
print(job._process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as owner:
        child = psutil.Process(int(owner.stdout.readline()))
        assert child.is_running()
        owner.kill()
    child.wait(timeout=30)
    assert (tmp_path / "b" / "training" / "last.safetensors").exists()


def still_there(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def two_processes(tmp_path, started):
    """A simulation in two processes of its own, which takes long."""
    options = ["--healthy", "200", "--pathological", "2", "--spacing", "2", "--jobs", "2"]
    job = started("simulate", tmp_path / "cohort", *options, folder=tmp_path / "job")
    watch(job, lambda event: event["event"] == "progress")
    family = psutil.Process(job._process.pid).children(recursive=True)
    assert len(family) >= 2
    return job, family


def test_no_process_survives_the_end_of_a_job(two_processes, tmp_path):
    job, family = two_processes
    job.kill()
    assert job.state == "stopped"
    _, alive = psutil.wait_procs(family, timeout=30)
    assert still_there(alive) == []


def test_a_pool_is_stopped_cleanly(two_processes, tmp_path):
    """Long before its tasks are done, and nothing half-written is left."""
    job, family = two_processes
    job.stop()
    watch(job)
    assert (job.state, job.exit_code) == ("stopped", 130)
    assert len(list((tmp_path / "cohort" / "images").iterdir())) < 150
    assert still_there(family) == []
    assert [path for path in (tmp_path / "cohort").rglob("*") if ".partial" in path.name] == []


def test_the_pool_ends_when_the_command_is_killed(two_processes):
    """Without the others being killed with it, as on Windows once the root is gone."""
    job, family = two_processes
    os.kill(job._process.pid, 9)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert still_there(alive) == []


def test_cancel_kills_what_does_not_listen(scripted):
    job = scripted(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)"
    )
    watch(job, lambda event: event.get("text") == "deaf")
    before = time.monotonic()
    job.cancel(0.3)
    job.cancel(600)  # pressed again and again, it is not put off
    assert job.state == "stopping"
    watch(job)
    assert time.monotonic() - before >= 0.3  # it could have ended by itself
    assert (job.state, job.exit_code, job.failure) == ("stopped", -9, None)


def test_other_lines_on_the_input_interrupt_nothing(tmp_path, tiny_table):
    environment = child_environment("AttribSegLib")
    command = [sys.executable, "-m", "AttribSegLib", "cohort", str(tiny_table)]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        process.stdin.write("unstoppable\nstopped\n")
        process.stdin.flush()
        assert "14 cases" in process.stdout.read()
    assert process.returncode == 0


def test_the_python_of_slicer(tmp_path, monkeypatch):
    monkeypatch.delenv("SLICER_HOME", raising=False)
    assert python_executable() == sys.executable
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / ("PythonSlicer.exe" if os.name == "nt" else "PythonSlicer")
    script.write_text("", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("SLICER_HOME", str(tmp_path))
    assert Path(python_executable()) == script


def test_the_child_imports_the_same_package_and_the_program(tmp_path, monkeypatch):
    program(tmp_path, "")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    folders = child_environment("scripted")["PYTHONPATH"].split(os.pathsep)
    assert (Path(folders[0]) / "AttribSegLib" / "jobs.py").is_file()
    assert folders[1:] == [str(tmp_path), "/elsewhere"]
