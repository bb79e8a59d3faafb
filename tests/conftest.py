"""Fixtures for all tests: the real reference data where they are there, and one small run."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from nodulenet.privacy import KEY_VARIABLE

# A real chart window or a TensorFlow banner has no place in a test run.
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How long an example takes depends on the machine's other work; it says nothing of the code.
settings.register_profile("nodulenet", deadline=None)
settings.load_profile("nodulenet")

REPOSITORY = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_OUTSIDE: list[str] = []


def _watch_connections(event: str, arguments: tuple[Any, ...]) -> None:
    """Note in ``_OUTSIDE`` what leaves this machine; the interpreter tells before it happens."""
    if event == "socket.getaddrinfo" and not _is_here(arguments[0]):
        _OUTSIDE.append(f"the address of {arguments[0]}")
    # A datagram socket that is only connected sends nothing: so distributed asks which address
    # of this machine the others see.
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        sends = arguments[0].type & socket.SOCK_STREAM
        if sends and not _is_here(arguments[1][0]):
            _OUTSIDE.append(f"a connection to {arguments[1][0]}")


def _is_here(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name is None or name in _own_names() or name.startswith("127.")


@functools.cache
def _own_names() -> frozenset[str]:
    addresses = {entry.address for card in psutil.net_if_addrs().values() for entry in card}
    return frozenset({"", "localhost", "::1", "0.0.0.0", socket.gethostname(), *addresses})


sys.addaudithook(_watch_connections)


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the small run go to one worker, which trains it once; others by file."""
    for item in items:
        uses_run = "small_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("small_run" if uses_run else str(item.path)))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """``shared_data("dicom")``: that folder of the reference data, or the test is skipped."""
    root = Path(os.environ.get("NODULENET_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            pytest.skip(f"the reference data {name!r} are not in {root} (NODULENET_SHARED_DATA)")
        return folder

    return find


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium by playwright, or the test is skipped."""
    named = os.environ.get("NODULENET_CHROMIUM")
    path = named or next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path is None:
        pytest.skip(f"no Chromium (looked for {', '.join(BROWSERS)} and $NODULENET_CHROMIUM)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        # The page is our own file; containers often cannot give the browser its sandbox.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session", autouse=True)
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A key of pseudonyms for the tests alone, also for the processes that they start."""
    file = tmp_path_factory.mktemp("key") / "pseudonyms.key"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, str(file))
        yield file


@pytest.fixture(autouse=True)
def no_outside_connection() -> Iterator[None]:
    """Whatever a test calls opens no connection to another machine, and asks for no name of one."""
    before = len(_OUTSIDE)
    yield
    assert _OUTSIDE[before:] == []


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A configuration of a small 2D run on phantom scans, as a plain tree."""
    folder = tmp_path_factory.mktemp("small")
    return {
        "name": "small",
        "run": str(folder / "run"),
        "seed": 3,
        "label_meaning": "candidate",
        "source": {
            "kind": "luna16",
            "root": str(folder / "phantom"),
            "phantom": {"scans": 10, "seed": 1},
        },
        "patch": {"form": "2d", "size": [24, 24], "spacing_mm": 1.25, "margin_voxels": 2},
        "folds": {
            "kind": "luna16",
            "subsets_per_fold": 5,
            "inner_fraction": 0.34,
            "least_of_each_label": 2,
        },
        "models": [{"name": "squeezenodule_v1", "normalization": "batch"}],
        "train": {"epochs": 3, "batch_size": 32, "threads": None},
        "evaluate": {"bootstraps": 200},
    }


@pytest.fixture(scope="session")
def small_run(small_tree: dict[str, Any]) -> Any:
    """The small run, prepared, trained and evaluated: a :class:`nodulenet.training.run.Run`."""
    from nodulenet.config.schema import Config
    from nodulenet.inference.bundle_content import write_bundle
    from nodulenet.patches.prepare import prepare
    from nodulenet.phantom.for_config import ensure_phantom
    from nodulenet.report.run import report_on_run
    from nodulenet.training.kfold import train

    config = Config.model_validate(small_tree)
    ensure_phantom(config)
    prepare(config)
    trained = train(config)
    write_bundle(trained.run, trained.predictions, trained.values)
    report_on_run(trained.run)
    return trained.run
