"""The doctor's lines: right where all is well, and with what is to be done where it is not."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.doctor import backends, examination, machine, own_process, packages, small_run
from nodulenet.doctor.check import Check
from nodulenet.privacy import KEY_VARIABLE

DIES = "import os, signal; os.kill(os.getpid(), signal.SIGABRT)"


def test_packages_that_are_there_missing_or_too_old() -> None:
    checks = packages.package_checks(
        [
            "numpy>=2",
            "pandas>=999; python_version > '3'",
            "nosuchthing[a]>=1",
            "x>1; extra == 'dev'",
        ]
    )
    assert checks[0] == Check("packages", "ok", "1 package as required")
    assert checks[1].state == "fix"
    assert checks[1].found == f"{version('pandas')} is installed, >=999 is required"
    assert checks[2] == Check(
        "nosuchthing", "fix", "not installed", 'pip install "nosuchthing[a]>=1"'
    )


def test_a_local_build_is_the_version_that_it_is_a_build_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packages, "version", lambda _: "2.13.0+cpu")
    (check, *_) = packages.package_checks(["torch==2.13.0"])
    assert check.state == "ok"


def test_an_evaluation_alone_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        if name in packages._FRAMEWORKS:
            raise packages.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(packages, "version", absent)
    (check,) = packages.package_checks()
    assert check.state == "note"
    assert "tensorflow" in check.found


def test_this_environment_is_as_required() -> None:
    assert [check.state for check in packages.package_checks()].count("fix") == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (DIES, "signal 6" if os.name != "nt" else "exit code"),
        ("raise ImportError('libcuda.so.1: no such file')", "ImportError: libcuda.so.1"),
        ("import time; time.sleep(30)", "no answer within"),
    ],
)
def test_a_framework_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    monkeypatch.setitem(backends._DEVICES, "jax", code)
    monkeypatch.setattr(backends, "_TIMEOUT_S", 1 if "sleep" in code else 60)
    answer = backends.probe("jax", keras=False)
    assert words in answer["error"]
    assert backends.check_of("jax", answer, default=True).state == "fix"
    assert backends.check_of("jax", answer, default=False).state == "note"


def test_what_a_framework_prints_besides_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "print('loading'); version, found, cuda = '1.0', ['A GPU'], True"
    monkeypatch.setitem(backends._DEVICES, "jax", code)
    answer = backends.probe("jax", keras=False)
    assert answer == {"version": "1.0", "gpus": ["A GPU"], "cuda": True}
    assert backends.check_of("jax", answer, default=True).found == "JAX 1.0 (the default): A GPU"


def test_the_default_backend_is_the_one_that_keras_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert backends.default_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert backends.default_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backends.default_backend() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    (check,) = backends.backend_checks()
    assert check.state == "fix"
    assert "theano" in check.found


def test_a_gpu_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backends.unused_gpu(["H100"], by_default=True, by_any=True) == []
    assert backends.unused_gpu([], by_default=False, by_any=False) == []
    (other,) = backends.unused_gpu(["H100"], by_default=False, by_any=True)
    assert "KERAS_BACKEND" in other.remedy
    monkeypatch.setattr(backends.platform, "system", lambda: "Windows")
    (windows,) = backends.unused_gpu(["H100"], by_default=False, by_any=False)
    assert "WSL2" in windows.remedy


def test_a_disk_that_is_full_or_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert machine.disk_check("disk", tmp_path).state == "ok"
    gone = machine.disk_check("disk", tmp_path / "gone")
    assert (gone.state, bool(gone.remedy)) == ("fix", True)
    monkeypatch.setattr(machine, "LEAST_DISK", 2**60)
    assert machine.disk_check("disk", tmp_path).state == "fix"


def test_the_key_is_looked_at_and_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "not yet" / "key"
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    assert machine.key_check().state == "ok"
    assert not file.parent.exists()


def test_every_compression_can_be_decoded_here() -> None:
    assert machine.decoder_check().state == "ok"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process of a framework, no run."""
    ready = [Check("backend", "ok", f"in {Path.home()}/env")]
    monkeypatch.setattr(backends, "backend_checks", lambda: ready)
    monkeypatch.setattr(small_run, "small_run_check", lambda: Check("small run", "ok", "done"))


@pytest.mark.usefixtures("quick")
def test_the_command_tells_all_and_not_where_home_is() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "ok    small run: done" in result.output
    assert result.output.endswith("everything that is needed works\n")
    assert "in ~/env" in result.output
    listed = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--no-run"]).stdout)
    assert [line["what"] for line in listed][:2] == ["NoduleNet", "Python"]
    assert "small run" not in [line["what"] for line in listed]


@pytest.mark.usefixtures("quick")
def test_what_is_to_be_mended_is_an_exit_code_and_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = [Check("torch", "fix", "not installed", 'pip install "torch==2.13.0"')]
    monkeypatch.setattr(packages, "package_checks", lambda: broken)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 4
    assert 'torch: not installed\n      -> pip install "torch==2.13.0"' in result.output
    assert "note  small run: left out" in result.output
    assert "1 thing to mend" in result.output


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_run_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "error in $3" >&2\nexit 3\n')
    fake.chmod(0o755)
    monkeypatch.setattr(own_process.sys, "executable", str(fake))
    check = small_run.small_run_check()
    assert (check.state, check.found) == ("fix", "ended with code 3: error in FOLDER")


def test_examination_looks_at_everything(tmp_path: Path, quick: None) -> None:
    seen = [check.what for check in examination.examine(tmp_path)]
    assert seen[-1] == "small run"
    assert {"packages", "backend", "CPUs", "memory", "disk here", "DICOM"} <= set(seen)


@pytest.mark.long
def test_the_small_run_reaches_its_answer() -> None:
    check = small_run.small_run_check()
    assert check.state == "ok", check.found
    assert "answer" in check.found
