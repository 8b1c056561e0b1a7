"""The installed package: what is in the wheel, what it needs, where it finds data and where its cache lies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lrp_core.errors import MissingExtra, StorageError
from lrp_core.extras import EXTRAS, from_extra
from lrp_core.storage import cache_dir, checkout, data_folders, user_cache

from .support import PATIENCE, ROOT, check_sentence, readme_blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

BLOCKED = ("streamlit", "plotly", "pandas", "pyarrow", "joblib", "scipy", "sklearn", "torchvision", "filelock", "tqdm")

WITHOUT_EXTRAS = f"""
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {BLOCKED} else find(name, *rest)
"""
"""Has Python find none of the packages that only an extra installs."""


def lines(name: str) -> set[str]:
    """The requirements in a file, without those that it includes."""
    found = (ROOT / name).read_text().splitlines()
    return {line for line in found if line and not line.startswith(("#", "-r"))}


def extra(name: str) -> set[str]:
    """The requirements of an extra, without the extras that it includes."""
    return {line for line in PROJECT["optional-dependencies"][name] if not line.startswith("lrp-core[")}


def test_the_package_asks_for_what_the_requirement_files_say():
    assert {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]} == {
        "torch",
        "numpy",
        "jaxtyping",
        "safetensors",
    }
    assert lines("requirements.txt") == {
        *PROJECT["dependencies"],
        *extra("study"),
        *extra("parquet"),
        *extra("app"),
    }
    assert lines("requirements-dask.txt") == extra("cluster")
    assert lines("requirements-dev.txt") == extra("dev")


def test_every_extra_that_a_refusal_names_installs_the_package():
    names = {"sklearn": "scikit-learn"}
    for package, name in EXTRAS.items():
        wanted = names.get(package, package)
        assert any(re.match(r"[\w-]+", line)[0] == wanted for line in extra(name)), package


def test_a_missing_package_is_one_sentence_and_any_other_is_left_alone():
    with pytest.raises(MissingExtra, match=r"^this needs pandas, which is not installed: pip install '.*\[study\]'$"):
        with from_extra():
            raise ModuleNotFoundError("No module named 'pandas.core'", name="pandas.core")
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as caught, from_extra():
        import no_such_package  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)


# Where things lie


@pytest.fixture
def installed(monkeypatch, tmp_path) -> Path:
    """As if `lrp_core` lay in site-packages and the user had a home of their own; gives that home."""
    home = tmp_path / "home"
    monkeypatch.setattr("lrp_core.storage.PROJECT", tmp_path / "site-packages")
    for name in ("LRP_CACHE", "LRP_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


def test_in_a_checkout_the_cache_lies_beside_the_package(monkeypatch):
    monkeypatch.delenv("LRP_CACHE")
    assert checkout() == ROOT
    assert cache_dir() == ROOT / "cache"


def test_installed_the_cache_lies_among_the_users(installed, monkeypatch, tmp_path):
    assert checkout() is None
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")):
        monkeypatch.setattr("lrp_core.storage.sys.platform", platform)
        assert user_cache() == installed / place / "lrp-core"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert user_cache() == tmp_path / "local" / "lrp-core"
    monkeypatch.setattr("lrp_core.storage.sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the standard says: ignore it
    assert user_cache() == installed / ".cache" / "lrp-core"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir("a") == tmp_path / "xdg" / "lrp-core" / "a"
    assert cache_dir("a").is_dir()
    monkeypatch.setenv("LRP_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"


def test_data_are_looked_for_where_the_user_says_then_in_the_checkout(monkeypatch, tmp_path):
    monkeypatch.delenv("LRP_DATA", raising=False)
    assert data_folders("mnist") == [ROOT / "data" / "mnist"]
    assert data_folders("kmnist") == []
    monkeypatch.setenv("LRP_DATA", str(tmp_path))
    assert data_folders("mnist") == [tmp_path, ROOT / "data" / "mnist"]
    (tmp_path / "mnist").mkdir()
    assert data_folders("mnist") == [tmp_path / "mnist", tmp_path, ROOT / "data" / "mnist"]
    monkeypatch.setenv("LRP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(StorageError, match=r"LRP_DATA is .*nowhere, which is no folder") as caught:
        data_folders("mnist")
    check_sentence(caught.value)


# The wheel


def run(code: str, folder: Path, *, bare: bool, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` where no checkout is in sight, with the unpacked wheel in `folder` alone to import from."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LRP_", "PYTHON", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", (WITHOUT_EXTRAS if bare else "") + code],
        cwd=elsewhere,
        env=kept | {"PYTHONPATH": str(folder), "HOME": str(folder.parent / "home"), **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the files that git would put into a fresh clone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "lrp_core", "pyproject.toml",
         "README.md", "LICENSE", "app.py", "pages", "requirements*.txt"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel) -> Path:
    """The wheel's files in a folder of their own, as an installation lays them."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def tops(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        yield re.sub(r"^lrp_core-[\d.]+\.dist-info$", "dist-info", name.partition("/")[0])


@pytest.mark.slow
def test_the_wheel_holds_the_library_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [archive.read(name).decode() for name in names if name.endswith("/METADATA")]
        [entries] = [archive.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    assert set(tops(names)) == {"lrp_core", "dist-info"}
    assert "lrp_core/py.typed" in names
    assert {f"lrp_core/{file.relative_to(ROOT / 'lrp_core')}" for file in (ROOT / "lrp_core").rglob("*.py")} <= set(
        names
    )
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(needed) == len(PROJECT["dependencies"])
    assert "lrp-core = lrp_core.__main__:main" in entries


@pytest.mark.slow
def test_the_readmes_first_example_runs_on_a_bare_installation(unpacked):
    example = readme_blocks("python")[0]
    done = run(example + "\nprint('kept', len(small.mask.indices))", unpacked, bare=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "kept 150"
    assert not list(unpacked.glob("cache*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "package"),
    [
        ("import lrp_core as lc; lc.Ledger", "(filelock|pandas)"),
        ("import lrp_core as lc; lc.load_dataset('mnist')", "(sklearn|torchvision)"),
        ("import sys, lrp_core.__main__ as m; sys.argv[1:] = ['info']; sys.exit(m.main())", "\\w+"),
    ],
)
def test_what_needs_an_extra_says_so_on_a_bare_installation(unpacked, code, package):
    done = run(code, unpacked, bare=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode != 0
    assert re.search(rf"this needs {package}, which is not installed: pip install 'lrp-core\[study\]'$", last), last


@pytest.mark.slow
def test_a_command_of_an_installation_keeps_to_the_users_folders(unpacked):
    train = "import sys; from lrp_core.__main__ import main; sys.argv[1:] = '{}'.split(); sys.exit(main())"
    command = train.format("train --train-images 500 --epochs 1")
    refused = run(command, unpacked, bare=False)
    assert refused.returncode == 2
    assert re.fullmatch(r"train: mnist is not complete here: .*LRP_DATA.*--download\)\n", refused.stderr)
    done = run(command, unpacked, bare=False, LRP_DATA=str(ROOT / "data" / "mnist"))
    assert done.returncode == 0, done.stderr
    assert not (unpacked / "cache").exists()
    assert (unpacked.parent / "home" / ".cache" / "lrp-core" / "data").is_dir()
