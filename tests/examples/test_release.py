"""A release of the next version, from a copy of the project."""

from __future__ import annotations

import re
import tarfile
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from scripts.bytecode import RUNTIMES, runs
from tests.examples.conftest import PYTHON, copied

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout

ADDRESS = "https://code.example/team/lambda_secrets"
VERSION = "9.8.7"
RELEASE = f"python3 -m scripts.release v{VERSION}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Copy the project as it is before its release."""
    return copied(tmp_path_factory.mktemp("release") / "project")


@pytest.fixture(scope="module")
def released(project: Checkout) -> str:
    """Set the version, name it in the changelog and run the release; return what it printed."""
    with pytest.raises(AssertionError, match="set the version first"):
        project.run(RELEASE)
    version = next(
        line
        for line in (project.root / "pyproject.toml").read_text("utf-8").splitlines()
        if line.startswith("version = ")
    )
    project.replace("pyproject.toml", version, f'version = "{VERSION}"')
    with pytest.raises(AssertionError, match=r"rename \[Unreleased\] first"):
        project.run(RELEASE)
    project.replace("CHANGELOG.md", "## [Unreleased]", f"## [{VERSION}] - 2026-11-25")
    return project.run(RELEASE, PROJECT_URL=ADDRESS)


@pytest.fixture
def wheel(released: str, project: Checkout) -> Path:
    """Return the wheel of the release."""
    return project.root / "dist" / f"lambda_secrets-{VERSION}-py3-none-any.whl"


def metadata(wheel: Path) -> str:
    """Return the metadata of a wheel."""
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(name).decode()


def test_release_lists_what_it_made(released: str) -> None:
    """Packages and layer are there, checked and listed with their digests."""
    made = [line.split()[1] for line in released.splitlines() if re.match("[0-9a-f]{64} ", line)]
    pythons = [runtime.replace("python3.", "3") for runtime in RUNTIMES if runs(runtime)]
    assert made == [
        f"dist/lambda_secrets-{VERSION}-py3-none-any.whl",
        *(f"dist/lambda_secrets-{VERSION}-py{python}-none-any.whl" for python in pythons),
        f"dist/lambda_secrets-{VERSION}.tar.gz",
        "layer/lambda-secrets-layer.zip",
    ]
    assert released.count("PASSED") == len(made) - 1


@pytest.mark.usefixtures("released")
def test_pip_prefers_the_wheel_of_the_python(project: Checkout) -> None:
    """Pip takes the wheel with that Python's bytecode alone; other Pythons get the general one."""
    for python in (PYTHON.removeprefix("python"), "3.99"):
        project.run(
            "python3 -m pip download --quiet --no-deps --no-index --find-links dist "
            f"--only-binary :all: --python-version {python} --dest for-{python} lambda-secrets"
        )
    [own] = (project.root / f"for-{PYTHON.removeprefix('python')}").iterdir()
    [other] = (project.root / "for-3.99").iterdir()
    tag = PYTHON.removeprefix("python").replace(".", "")
    assert own.name == f"lambda_secrets-{VERSION}-py{tag}-none-any.whl"
    assert other.name == f"lambda_secrets-{VERSION}-py3-none-any.whl"
    with ZipFile(own) as archive:
        files = [name for name in archive.namelist() if name.endswith(".bin")]
    assert files == [f"lambda_secrets/_bytecode.cpython-{tag}.bin"]


def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Neither tests nor examples are installed; types and licence are."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"lambda_secrets-{VERSION}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"lambda_secrets", info}
    assert {"lambda_secrets/py.typed", f"{info}/licenses/LICENSE"} <= set(names)


def test_sdist_holds_what_a_packager_needs(released: str, project: Checkout) -> None:
    """Tests, examples, documents and scripts are in the source distribution; no bytecode is."""
    with tarfile.open(project.root / "dist" / f"lambda_secrets-{VERSION}.tar.gz") as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    needed = {
        "CHANGELOG.md",
        "docs/index.md",
        "examples/sam/template.yaml",
        "hatch_build.py",
        "pyproject.toml",
        "scripts/release.py",
        "tests/conftest.py",
        "tox.ini",
    }
    assert needed <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_page_on_an_index_links_to_the_tag(wheel: Path) -> None:
    """The README's links and images are absolute, and the project's pages are named."""
    text = metadata(wheel)
    assert f"Project-URL: Source, {ADDRESS}\n" in text
    assert f"]({ADDRESS}/blob/v{VERSION}/docs/index.md)" in text
    assert f"![Milliseconds that each adds to a cold start]({ADDRESS}/raw/v{VERSION}/docs/" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []


def test_no_address_is_invented(checkout: Checkout) -> None:
    """A wheel built without PROJECT_URL names no page and keeps the README as it is."""
    checkout.run("env -u PROJECT_URL python3 -m build --wheel --outdir unset")
    [wheel] = (checkout.root / "unset").glob("*.whl")
    text = metadata(wheel)
    assert "Project-URL" not in text
    assert text.partition("\n\n")[2] == (checkout.root / "README.md").read_text("utf-8")
