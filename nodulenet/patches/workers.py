"""Independent units of work, spread over processes of this machine or a Dask cluster.

Three ways, one interface (:class:`Workers`): :class:`InPlace`, :class:`Processes` and
:class:`Cluster`. Each yields an :class:`Outcome` a unit as units finish, in any order. A unit that
raises, or whose worker dies, is tried again :data:`RETRIES` times and then given back with its
error; the other units go on. Only :class:`SetupError` and a full or read-only disk end everything,
because every further unit would fail alike.

A unit's function and the unit itself must survive pickling, the result should be small.

Processes come from :mod:`concurrent.futures` and not from Dask, so that they need no extra; a
``LocalCluster`` of Dask is used as any other cluster is, by its address.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from multiprocessing import connection, forkserver, get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from nodulenet.ct.sources import one_line
from nodulenet.errors import DataError, MissingDependencyError, UsageError

U = TypeVar("U")
R = TypeVar("R")

RETRIES = 1
"""How often a unit that failed, or whose worker died, is tried again."""

CONNECT_S = 10.0
"""How long a Dask scheduler has to answer."""

# A stopped worker has this long to remove the file that it was writing.
_GRACE_S = 0.5
_NO_UNIT_CAN_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# One thread a worker: as many workers as cores would otherwise start cores x cores threads.
_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)


class SetupError(UsageError):
    """What every unit needs is missing on a worker: the store's folder, or this version."""


class WorkerDiedError(DataError):
    """The process that worked on a unit died each time it was tried."""


@dataclass(frozen=True)
class Outcome(Generic[U, R]):
    """What became of a unit: ``result``, or the ``error`` of its last try."""

    unit: U
    result: R | None = None
    error: Exception | None = None


Outcomes: TypeAlias = Generator[Outcome[U, R], None, None]


class Workers(Protocol):
    """Whatever works off units."""

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Outcomes[U, R]:
        """``work(unit)`` of every unit, as they finish. Close the iterator to stop early.

        Raises:
            SetupError: no unit can be done on a worker.
            UsageError: there are no workers to be had.
            OSError: the disk is full or read-only.
        """


class InPlace:
    """One unit after the other in this process, in their order."""

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Outcomes[U, R]:
        for unit in units:
            for attempt in range(RETRIES + 1):
                try:
                    outcome = Outcome(unit, result=work(unit))
                except Exception as error:
                    if ends_everything(error):
                        raise
                    if attempt < RETRIES:
                        continue
                    outcome = Outcome(unit, error=error)
                break
            yield outcome


class Processes:
    """Processes beside this one.

    On Linux they are forked from a server that has imported ``preload`` once, so that a worker
    starts in milliseconds and shares the memory of the libraries; elsewhere every worker imports
    on its own. Workers end with this process, however it ends.

    Hardly more units are handed out than there are workers, so that when a worker is killed those
    in flight are known; they are tried again one by one, which finds the one to blame.

    Args:
        jobs: number of processes.
        preload: modules that the units' function needs.

    Raises:
        UsageError: ``jobs`` is not a number above 0.
    """

    def __init__(self, jobs: int, *, preload: Sequence[str] = ()) -> None:
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
            raise UsageError(f"jobs is {jobs!r}; expected a number of processes of at least 1")
        self.jobs = jobs
        self._preload = list(preload)

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Outcomes[U, R]:
        waiting = _Waiting(units)
        while waiting:
            suspects: list[U] = []
            with _Pool(self.jobs, self._preload) as pool:
                yield from _work_off(pool, work, waiting, suspects)
            for unit in suspects:
                yield self._alone(work, unit)

    def _alone(self, work: Callable[[U], R], unit: U) -> Outcome[U, R]:
        """The unit in a worker of its own: nobody else can be to blame for what happens."""
        for _ in range(RETRIES):
            with _Pool(1, self._preload) as pool:
                try:
                    return Outcome(unit, result=pool.submit(work, unit).result())
                except BrokenProcessPool:
                    continue
                except Exception as error:
                    if ends_everything(error):
                        raise
                    return Outcome(unit, error=error)
        return Outcome(unit, error=_died(f"in {RETRIES + 1} tries"))


def asked_workers(
    verb: str,
    jobs: int | None,
    scheduler: str | None,
    *,
    preload: Sequence[str],
    note: Callable[[str], None],
) -> Workers | None:
    """The workers that were asked for; None where the choice is the caller's.

    Args:
        verb: the command, for messages.
        jobs: number of processes, 1 is this process; None where it was not said.
        scheduler: address of a Dask scheduler; None where it was not said.
        preload: modules that the units' function needs.
        note: told what a cluster has to say.

    Raises:
        UsageError: both are given, or ``jobs`` is not a number above 0.
    """
    if scheduler is not None:
        if jobs is not None:
            raise UsageError(
                f"{verb}: --jobs is for this machine, --scheduler for a cluster; give one of them"
            )
        return Cluster(scheduler, note=note)
    if jobs is None:
        return None
    processes = Processes(jobs, preload=preload)
    return InPlace() if jobs == 1 else processes


@dataclass(frozen=True)
class _Tried(Generic[U]):
    unit: U
    tries: int = 0


class _Waiting(Generic[U]):
    """Units that nobody works on: those to be repeated first, then the others as they come."""

    def __init__(self, units: Iterable[U]) -> None:
        self._units = iter(units)
        self._back: deque[_Tried[U]] = deque()

    def __bool__(self) -> bool:
        if not self._back:
            self._back.extend(_Tried(unit) for unit in islice(self._units, 1))
        return bool(self._back)

    def take(self) -> _Tried[U]:
        return self._back.popleft()

    def put_back(self, tried: _Tried[U]) -> None:
        self._back.append(tried)


def _work_off(
    pool: _Pool, work: Callable[[U], R], waiting: _Waiting[U], suspects: list[U]
) -> Outcomes[U, R]:
    """Until no unit is left, or a worker died: then ``suspects`` are those that were in flight."""
    running: dict[Future[R], _Tried[U]] = {}
    broken = False
    while True:
        # One more than there are workers, so that none of them waits for this process.
        while not broken and len(running) <= pool.jobs and waiting:
            tried = waiting.take()
            try:
                running[pool.submit(work, tried.unit)] = tried
            except BrokenProcessPool:
                # A worker died since the last look; this unit has reached none.
                waiting.put_back(tried)
                broken = True
        if not running:
            return
        # Of a broken pool the futures end within moments, some of them with their result.
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            tried = running.pop(future)
            try:
                outcome = Outcome(tried.unit, result=future.result())
            except BrokenProcessPool:
                broken = True
                suspects.append(tried.unit)
            except Exception as error:
                if ends_everything(error):
                    raise
                if tried.tries < RETRIES:
                    waiting.put_back(_Tried(tried.unit, tried.tries + 1))
                else:
                    yield Outcome(tried.unit, error=error)
            else:
                yield outcome


class _Pool:
    """A process pool whose workers leave at once when this process stops it, or dies."""

    def __init__(self, jobs: int, preload: Sequence[str]) -> None:
        self.jobs = jobs
        context: BaseContext = get_context("forkserver" if _HAS_FORKSERVER else "spawn")
        # The workers hold the other end: it is closed when they are to leave.
        self._leave, self._keep = context.Pipe(duplex=False)
        if _HAS_FORKSERVER:
            context.set_forkserver_preload(list(preload))
            with _starting_workers():
                forkserver.ensure_running()
        self._executor = ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_begin_worker, initargs=(self._leave,)
        )
        try:
            self.submit(int, 0).result()
        except BrokenProcessPool as error:
            raise UsageError(
                "no worker process could be started on this machine; do without (--jobs 1)"
            ) from error

    def submit(self, work: Callable[[U], R], unit: U) -> Future[R]:
        # Not while a fork server starts its first worker: that waits for its imports, and Ctrl-C
        # must get through. Its children have inherited that they do not listen to it.
        with _starting_workers(hold_interrupts=not _HAS_FORKSERVER):
            return self._executor.submit(_work_on, work, unit)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self._keep.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._keep.close()
        self._leave.close()


_HAS_FORKSERVER = sys.platform == "linux"


@contextmanager
def _starting_workers(*, hold_interrupts: bool = True) -> Iterator[None]:
    """The state in which workers are to be born.

    Without ``__main__``: a worker would import it again, so that a script without the usual guard
    would start its work a second time; no unit's function lives there. With one thread each. And
    deaf to Ctrl-C, which goes to all processes of a terminal: this one tells its workers.
    """
    main = sys.modules["__main__"]
    threads = {name: os.environ.get(name) for name in _ONE_THREAD}
    with ExitStack() as undo:
        if hold_interrupts and hasattr(signal, "pthread_sigmask"):
            old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, old)
        undo.callback(sys.modules.__setitem__, "__main__", main)
        undo.callback(_set_environment, threads)
        sys.modules["__main__"] = types.ModuleType("__main__")
        _set_environment(_ONE_THREAD)
        yield


def _set_environment(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _begin_worker(leave: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_now)
    threading.Thread(target=_leave_when_told, args=(leave,), daemon=True).start()


def _leave_when_told(leave: connection.Connection) -> None:
    parent = parent_process()
    connection.wait([leave] if parent is None else [leave, parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


_leaving = threading.Event()


def _work_on(work: Callable[[U], R], unit: U) -> R:
    if _leaving.is_set():
        sys.exit(1)
    return work(unit)


def _leave_now(*_: object) -> None:
    """Raises in the midst of a unit, so that it removes what it is writing, and sees to the end.

    The pool's loop takes what is raised for a failure of the unit and would go on with the next.
    """
    _leaving.set()
    timer = threading.Timer(_GRACE_S, os._exit, [1])
    timer.daemon = True
    timer.start()
    sys.exit(1)


class Cluster:
    """An existing Dask cluster.

    Its workers need the same version of this package and see scans and store under the same
    paths. Units are all handed over at once: which worker takes which, and what is done when a
    worker comes or goes, is Dask's business.

    Args:
        address: of the scheduler, as ``tcp://HOST:8786``, or its scheduler file.
        note: told of what the user should know.
        resource: where workers have this resource (``dask worker --resources "GPU=1"``), a unit
            takes one of it and goes to no other worker. Defaults to none.

    Raises:
        MissingDependencyError: Dask is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        note: Callable[[str], None] = lambda _: None,
        resource: str | None = None,
    ) -> None:
        try:
            self._dask: Any = import_module("distributed")
        except ImportError as error:
            raise MissingDependencyError(
                "--scheduler needs Dask, which is not installed; pip install 'nodulenet[cluster]'"
            ) from error
        self.address = address
        self._note = note
        self._resource = resource

    def map(self, work: Callable[[U], R], units: Iterable[U]) -> Outcomes[U, R]:
        with self._connect() as client:
            if not client.scheduler_info()["workers"]:
                self._note(f"{self.address}: has no workers yet; waiting for the first")
                if self._resource is not None:
                    client.wait_for_workers(1)
            options = self._options(client)
            handed = {
                client.submit(work, unit, pure=False, retries=RETRIES, **options): unit
                for unit in units
            }
            try:
                for future in self._dask.as_completed(list(handed), loop=client.loop):
                    unit = handed.pop(future)
                    yield self._outcome(future, unit)
                    future.release()
            finally:
                # What is under way ends on its worker; what waits must not start.
                if handed and client.status == "running":
                    client.cancel(list(handed), force=True)

    def _options(self, client: Any) -> dict[str, Any]:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if self._resource is None or not any(
            w.get("resources", {}).get(self._resource) for w in workers
        ):
            return {}
        return {"resources": {self._resource: 1}}

    def _connect(self) -> Any:
        is_file = self.address.endswith(".json")
        if is_file and not Path(self.address).is_file():
            raise UsageError(
                f"--scheduler {self.address}: there is no such scheduler file; expected the one "
                f"that `dask scheduler --scheduler-file` writes"
            )
        where = {"scheduler_file": self.address} if is_file else {"address": self.address}
        try:
            return self._dask.Client(**where, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise UsageError(
                f"--scheduler {self.address}: no Dask scheduler answers there "
                f"({one_line(error)}); expected an address such as tcp://HOST:8786 that this "
                f"machine can reach; start one with `dask scheduler`"
            ) from error

    def _outcome(self, future: Any, unit: U) -> Outcome[U, R]:
        try:
            # Where the worker has died since, this waits until another has done the unit again.
            return Outcome(unit, result=future.result())
        except (asyncio.CancelledError, CancelledError) as error:
            raise DataError(
                f"--scheduler {self.address}: the scheduler has gone; what was finished is kept, "
                f"the same command goes on with a new one"
            ) from error
        except self._dask.KilledWorker:
            return Outcome(unit, error=_died("again and again"))
        except Exception as error:
            if ends_everything(error):
                raise
            if isinstance(error, ImportError) or "deserialization" in str(error):
                raise SetupError(
                    f"--scheduler {self.address}: its workers cannot run this program "
                    f"({one_line(error)}); install the same version of nodulenet there"
                ) from error
            return Outcome(unit, error=error)


def ends_everything(error: BaseException) -> bool:
    """Whether every further unit would fail alike: the disk is full, or a worker is no use."""
    full = isinstance(error, OSError) and error.errno in _NO_UNIT_CAN_BE_WRITTEN
    return full or isinstance(error, SetupError)


def _died(how_often: str) -> WorkerDiedError:
    return WorkerDiedError(
        f"its worker process died {how_often} (killed, out of memory, or a crash of a decoder); "
        f"prepare again with fewer --jobs or more memory, or look at the scan"
    )
