"""Units on workers: what fails is tried again and given back, what dies takes no other with it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nodulenet.errors import MissingDependencyError, NoduleNetError, UsageError
from nodulenet.patches import workers as room
from nodulenet.patches.workers import (
    RETRIES,
    Cluster,
    InPlace,
    Outcome,
    Processes,
    SetupError,
    WorkerDiedError,
)

# Units' functions must be importable where the workers are, which test modules are not.
TASKS = """
import errno, os, signal, sys, time
from pathlib import Path
from nodulenet.patches.workers import SetupError

def leave_trace(folder, name):
    number = len(list(Path(folder).glob(f"{name}-*")))
    Path(folder, f"{name}-{number}").write_text(str(os.getpid()))
    return number

def square(unit):
    return unit * unit

def fail_on_three(unit):
    folder, number = unit
    leave_trace(folder, number)
    if number == 3:
        raise ValueError("three is wrong")
    return number

def fail_first(unit):
    folder, number = unit
    if leave_trace(folder, number) == 0 and number == 3:
        raise OSError("a glitch")
    return number

def die_on_three(unit):
    folder, number = unit
    leave_trace(folder, number)
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number

def die_first(unit):
    folder, number = unit
    if leave_trace(folder, number) == 0 and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

def refuse(unit):
    folder, number = unit
    leave_trace(folder, number)
    raise SetupError("no store here")

def full(unit):
    folder, number = unit
    leave_trace(folder, number)
    raise OSError(errno.ENOSPC, "No space left on device", "shard.npy")

def sleep_and_clean(unit):
    folder, number = unit
    leave_trace(folder, number)
    if number == 0:
        return number
    half = Path(folder, f".half-{number}")
    half.write_text("half")
    try:
        time.sleep(60)
    finally:
        half.unlink()

def environment(unit):
    time.sleep(0.05)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), sys.modules["__main__"].__dict__.get("X")
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "code"
    folder.mkdir()
    # Another name each time: the fork server keeps what it has imported.
    name = f"tasks_{time.monotonic_ns()}"
    (folder / f"{name}.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module(name)
    del sys.modules[name]


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def by_number(outcomes: Any) -> dict[int, Outcome[Any, Any]]:
    found = [(o.unit[1], o) for o in outcomes]
    assert len(found) == len(dict(found)), "a unit was given back twice"
    return dict(found)


def alive(pid: int) -> bool:
    try:
        # A zombie has ended; its parent only has not looked yet.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


EACH = pytest.mark.parametrize("workers", [InPlace(), Processes(2)], ids=["in place", "processes"])


@EACH
def test_every_unit_is_given_back_once(workers: Any, tasks: ModuleType) -> None:
    outcomes = list(workers.map(tasks.square, range(30)))
    assert sorted(o.unit for o in outcomes) == list(range(30))
    assert all(o.result == o.unit**2 and o.error is None for o in outcomes)
    assert list(workers.map(tasks.square, [])) == []


@EACH
def test_a_unit_that_fails_is_tried_again_then_given_back(
    workers: Any, tasks: ModuleType, traces: Path
) -> None:
    found = by_number(workers.map(tasks.fail_on_three, [(traces, n) for n in range(8)]))
    assert set(found) == set(range(8))
    assert [n for n, o in found.items() if o.error] == [3]
    assert isinstance(found[3].error, ValueError)
    assert str(found[3].error) == "three is wrong"
    assert len(list(traces.glob("3-*"))) == RETRIES + 1
    assert len(list(traces.glob("*"))) == 8 + RETRIES


@EACH
def test_a_glitch_is_made_good(workers: Any, tasks: ModuleType, traces: Path) -> None:
    found = by_number(workers.map(tasks.fail_first, [(traces, n) for n in range(6)]))
    assert [o.result for _, o in sorted(found.items())] == list(range(6))


@EACH
@pytest.mark.parametrize(("task", "kind"), [("refuse", SetupError), ("full", OSError)])
def test_what_no_unit_can_do_without_ends_everything(
    workers: Any, task: str, kind: type[Exception], tasks: ModuleType, traces: Path
) -> None:
    with pytest.raises(kind) as caught:
        list(workers.map(getattr(tasks, task), [(traces, n) for n in range(50)]))
    assert type(caught.value) is kind
    assert len(list(traces.glob("*"))) <= 4


def test_a_unit_that_kills_its_worker_takes_no_other_with_it(
    tasks: ModuleType, traces: Path
) -> None:
    found = by_number(Processes(2).map(tasks.die_on_three, [(traces, n) for n in range(12)]))
    assert set(found) == set(range(12))
    assert [n for n, o in found.items() if o.error] == [3]
    assert isinstance(found[3].error, WorkerDiedError)
    assert "2 tries" in str(found[3].error)
    assert len(list(traces.glob("3-*"))) == 2


def test_a_worker_that_is_killed_once_is_replaced(tasks: ModuleType, traces: Path) -> None:
    found = by_number(Processes(2).map(tasks.die_first, [(traces, n) for n in range(12)]))
    assert [o.result for _, o in sorted(found.items())] == list(range(12))
    # Of the finished units none is done again, only what was in flight beside the victim.
    assert len(list(traces.glob("*"))) <= 12 + 2


def test_workers_have_one_thread_and_not_the_main_module(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "X", "mine", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    main = sys.modules["__main__"]
    found = [o.result for o in Processes(2).map(tasks.environment, range(8))]
    pids, threads, names = zip(*found, strict=True)
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert set(threads) == {"1"}
    assert set(names) == {None}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert sys.modules["__main__"] is main


def test_stopping_early_ends_the_workers_at_once(tasks: ModuleType, traces: Path) -> None:
    outcomes = Processes(3).map(tasks.sleep_and_clean, [(traces, n) for n in range(9)])
    assert next(outcomes).unit[1] == 0
    # Handed out were 0 to 3; the next goes out when the next outcome is asked for.
    assert wait_until(lambda: len(list(traces.glob(".half-*"))) == 3)
    pids = {int(f.read_text()) for f in traces.glob("[0-9]*")}
    begin = time.monotonic()
    outcomes.close()
    assert time.monotonic() - begin < 3
    assert wait_until(lambda: not any(map(alive, pids)), 3)
    assert not list(traces.glob(".half-*")), "what a unit was writing is still there"
    assert not list(traces.glob("4-*")), "a waiting unit was started"


SCRIPT = """
import sys
sys.path.insert(0, {code!r})
import {name} as tasks
from nodulenet.patches.workers import Processes
print("top level")
work = getattr(tasks, sys.argv[1])
print(sum(o.result for o in Processes(2).map(work, [({traces!r}, n) for n in range(6)])))
"""


@pytest.fixture
def script(tasks: ModuleType, traces: Path, tmp_path: Path) -> Path:
    """Without ``if __name__ == "__main__"``."""
    file = tmp_path / "script.py"
    assert tasks.__file__
    code = str(Path(tasks.__file__).parent)
    file.write_text(SCRIPT.format(code=code, name=tasks.__name__, traces=str(traces)))
    return file


def test_a_script_needs_no_guard(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "fail_first"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["top level", "15"]


def test_workers_do_not_outlive_a_killed_parent(script: Path, traces: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(script), "sleep_and_clean"], stdout=subprocess.PIPE
    )
    try:
        assert wait_until(lambda: len(list(traces.glob(".half-*"))) == 2)
        pids = {int(f.read_text()) for f in traces.glob("[0-9]*")}
        assert len(pids) == 2
    finally:
        process.kill()
        process.communicate()
    assert wait_until(lambda: not any(map(alive, pids)), 3)
    assert not list(traces.glob(".half-*"))


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5, "2"])
def test_impossible_numbers_of_processes(jobs: Any) -> None:
    with pytest.raises(UsageError, match=r"jobs is .*; expected a number of processes of at least"):
        Processes(jobs)


def test_a_cluster_needs_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nodulenet\[cluster\]'"):
        Cluster("tcp://127.0.0.1:8786")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("nonsense", "no Dask scheduler answers there"),
        ("tcp://127.0.0.1:notaport", "no Dask scheduler answers there"),
        ("http://127.0.0.1:1", "unknown address scheme 'http'"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers there"),
        ("gone.json", "there is no such scheduler file"),
    ],
)
def test_no_scheduler_at_that_address(
    address: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(room, "CONNECT_S", 0.5)
    with pytest.raises(UsageError) as caught:
        list(Cluster(address).map(abs, [1]))
    assert str(caught.value).startswith(f"--scheduler {address}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def cluster(folder: Path, code: Path, workers: int = 2) -> Iterator[tuple[Path, list[Any]]]:
    """A scheduler and workers as processes of their own, as on a real cluster."""
    pytest.importorskip("distributed")
    file = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(code)}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    # No nanny: it would be another process to end.
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--scheduler-file", str(file)]
    commands = [
        ["scheduler", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(file)],
        *(["worker", *options, "--local-directory", str(folder)] for _ in range(workers)),
    ]
    processes = [subprocess.Popen([*dask, *c], env=environment, **quiet) for c in commands]
    try:
        assert wait_until(file.is_file, 30)
        yield file, processes
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.slow
def test_a_cluster_loses_a_worker_and_a_unit_that_kills_each(
    tasks: ModuleType, traces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tasks.__file__
    code = Path(tasks.__file__).parent
    with cluster(tmp_path, code, workers=6) as (file, processes):
        workers = Cluster(str(file))
        units = [(str(traces), n) for n in range(12)]
        found = by_number(workers.map(tasks.die_on_three, units))
        assert set(found) == set(range(12))
        assert [n for n, o in found.items() if o.error] == [3]
        assert isinstance(found[3].error, WorkerDiedError)
        for file_ in traces.glob("*"):
            file_.unlink()
        found = by_number(workers.map(tasks.fail_first, units))
        assert [o.result for _, o in sorted(found.items())] == list(range(12))
        with pytest.raises(SetupError, match="no store here"):
            list(workers.map(tasks.refuse, units))
        # Workers that do not have the code.
        (code / "elsewhere").mkdir()
        (code / "elsewhere" / "unknown_there.py").write_text("def one(unit):\n    return 1\n")
        monkeypatch.syspath_prepend(str(code / "elsewhere"))
        unknown = importlib.import_module("unknown_there")
        with pytest.raises(SetupError, match="install the same version of nodulenet there"):
            list(workers.map(unknown.one, range(3)))
        outcomes = workers.map(tasks.sleep_and_clean, [(str(traces), n) for n in range(100, 104)])
        processes[0].send_signal(signal.SIGKILL)
        with pytest.raises(NoduleNetError, match=f"--scheduler {file}"):
            list(outcomes)
