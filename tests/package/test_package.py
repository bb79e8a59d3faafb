"""What is built, what it needs, and that it works where the repository is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import nodulenet

PYTHONS = ("3.11", "3.12", "3.13")
DATA = (
    "nodulenet/py.typed",
    "nodulenet/configs/demo.yaml",
    "nodulenet/configs/demo_quick.yaml",
    "nodulenet/report/templates/report.html.j2",
    "nodulenet/inference/templates/model_card.md.j2",
    "nodulenet/inference/outputs/templates/sheet.html.j2",
)


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that is built from what the sdist holds."""
    from hatchling import build

    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        sdist = folder / build.build_sdist(str(folder))
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        patch.chdir(folder / sdist.name.removesuffix(".tar.gz"))
        build.build_wheel(str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_wheel_holds_every_module_and_its_data(repository: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        file.relative_to(repository).as_posix() for file in repository.glob("nodulenet/**/*.py")
    }
    assert modules <= names
    assert set(DATA) <= names
    shipped = {f"nodulenet/configs/{file.name}" for file in repository.glob("configs/*.yaml")}
    assert shipped <= names
    others = {name.split("/")[0] for name in names} - {"nodulenet"}
    assert others == {f"nodulenet-{nodulenet.__version__}.dist-info"}


def test_the_sdist_holds_what_a_checkout_is_worked_with(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "Makefile",
        "CITATION.cff",
        "locks/eval-py3.11.txt",
        "docs/training.md",
        "notebooks/README.md",
        "pipelines/luna16.py",
        "tests/conftest.py",
    } <= names
    assert not [name for name in names if name.startswith(("runs", "build", ".venv"))]


def test_the_wheel_works_where_the_repository_is_not(wheel: Path, tmp_path: Path) -> None:
    inside = tmp_path / "site packages"
    zipfile.ZipFile(wheel).extractall(inside)
    code = (
        "import nodulenet; print(nodulenet.__file__); "
        "from nodulenet.cli.main import app; app(['config', '--show', 'demo_quick'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(inside)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    where, _, shown = done.stdout.partition("\n")
    assert Path(where).is_relative_to(inside)
    assert yaml.safe_load(shown)["run"] == "runs/demo_quick"


@pytest.mark.long
def test_the_wheel_makes_the_demo_without_a_network(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, in a folder with a space, with networking off if it can be."""
    home = tmp_path / "some where"
    venv.create(home / "env", with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(home / "env"), "platbase": str(home / "env")})
    site, scripts = Path(paths["purelib"]), Path(paths["scripts"])
    zipfile.ZipFile(wheel).extractall(site)
    # The other packages are those that are here; a .pth there would not be followed.
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    code = "from nodulenet.cli.main import main; main()"
    alone = ["unshare", "-rn"] if shutil.which("unshare") else []
    if alone and subprocess.run([*alone, "true"], check=False).returncode:
        alone = []
    work = home / "work"
    work.mkdir()

    def nodulenet_(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*alone, str(python), "-c", code, *arguments],
            cwd=work,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    demo = nodulenet_("demo", "--quick")
    assert demo.returncode == 0, demo.stderr
    assert (work / "runs" / "demo_quick" / "report.html").is_file()
    # The command it ends with is one that can be typed.
    question = re.search(r"nodulenet classify (\S+) (--point=\S+) --model (\S+)", demo.stderr)
    assert question
    answer = nodulenet_("classify", *question.groups()[:2], "--model", question[3])
    assert answer.returncode == 0, answer.stderr
    assert "probability" in answer.stdout
    doctor = nodulenet_("doctor", "--no-run")
    assert doctor.returncode == 0, doctor.stdout


def test_evaluation_alone_needs_a_part_of_the_dependencies(repository: Path) -> None:
    tree = project(repository)
    alone = set(tree["dependency-groups"]["eval"])
    assert alone < set(tree["project"]["dependencies"])
    names = {Requirement(text).name for text in alone}
    assert not names & {"keras", "tensorflow", "torch", "monai", "SimpleITK", "pydicom"}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("kind", ["", "eval-"])
def test_the_locks_hold_what_the_project_requires(repository: Path, python: str, kind: str) -> None:
    tree = project(repository)
    texts = tree["dependency-groups"]["eval"]
    if not kind:
        extras = tree["project"]["optional-dependencies"].values()
        texts = [*tree["project"]["dependencies"], *(text for extra in extras for text in extra)]
    lines = (repository / "locks" / f"{kind}py{python}.txt").read_text().splitlines()
    locked: dict[str, list[Requirement]] = {}
    for pinned in map(Requirement, lines):
        locked.setdefault(plain(pinned.name), []).append(pinned)
    for wanted in map(Requirement, texts):
        versions = [
            specifier.version
            for pinned in locked.get(plain(wanted.name), [])
            for specifier in pinned.specifier
        ]
        assert versions, f"{wanted} is not in the lock"
        assert any(wanted.specifier.contains(v, prereleases=True) for v in versions), wanted


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_citation_is_of_this_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == nodulenet.__version__
    assert citation["license"] == project(repository)["project"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert [reference["year"] for reference in citation["references"]] == [2022, 2016]


def test_hooks_and_workflow_name_what_is_there(repository: Path) -> None:
    """Every file of a hook or of the workflow exists, and every `make` target."""
    texts = [
        (repository / name).read_text(encoding="utf-8")
        for name in (".pre-commit-config.yaml", ".github/workflows/ci.yml")
    ]
    for text in texts:
        assert yaml.safe_load(text)
        for name in re.findall(r"\b(?:tests|locks)/[\w/.-]+\.\w+", text):
            assert (repository / name).is_file(), name
        made = (repository / "Makefile").read_text(encoding="utf-8")
        for target in re.findall(r"\bmake ([a-z]+)", text):
            assert re.search(rf"^{target}:", made, re.MULTILINE), target
