from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from lrp_core.errors import InputError, LrpError, StorageError, check_choice, storage_errors
from lrp_core.storage import cache_dir, write_atomic

from .support import is_one_sentence, python


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_overwrites_whole_files(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    for content in (b"first", b"", bytes(range(256)) * 1000):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert files_in(path.parent) == ["file.bin"]


def test_the_umask_decides_who_may_read(tmp_path):
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        write_atomic(path, b"x")
        assert os.umask(0o027) == 0o027, "the umask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize(
    "raised", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"]
)
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, raised):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_args, **_kwargs):
        raise raised

    monkeypatch.setattr(f"lrp_core.storage.os.{call}", fail)
    with pytest.raises(StorageError if isinstance(raised, OSError) else KeyboardInterrupt) as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert files_in(tmp_path) == ["file"]
    if isinstance(raised, OSError):
        assert str(caught.value) == f"cannot write {path}: No space left on device"


KILLED = """
import os, signal, sys
from pathlib import Path
from lrp_core import storage
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(storage.os, sys.argv[2], die)
storage.write_atomic(Path(sys.argv[1]), b"new" * 100_000)
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_killed_writer_leaves_the_old_file(tmp_path, call):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    assert python(KILLED, path, call).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


FULL = """
import resource, sys
from pathlib import Path
from lrp_core.errors import StorageError
from lrp_core.storage import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 5000)
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    done = python(FULL, path)
    assert done.stdout == f"cannot write {path}: File too large\n", done.stderr
    assert path.read_bytes() == b"old"
    assert files_in(tmp_path) == ["file"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "below", tmp_path, tmp_path / ("n" * 300)):
        with pytest.raises(StorageError, match=r"^cannot write ") as caught:
            write_atomic(path, b"content")
        assert is_one_sentence(caught.value)
    assert files_in(tmp_path) == ["file"]


def test_cache_dir_follows_the_environment_and_creates_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LRP_CACHE", str(tmp_path / "here"))
    assert cache_dir("a", "b") == tmp_path / "here" / "a" / "b"
    assert (tmp_path / "here" / "a" / "b").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LRP_CACHE", "~/there")
    assert cache_dir() == tmp_path / "there"


def test_the_session_never_uses_the_real_cache(session_cache):
    assert cache_dir() == session_cache


def test_an_impossible_cache_folder_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LRP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="set LRP_CACHE to a writable one") as caught:
        cache_dir("data")
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("epsilom", "did you mean 'epsilon'? "), ("EPSILON", ""), ("", ""), ("zzz", "")]
)
def test_check_choice_names_the_nearest_and_all(name, hint):
    with pytest.raises(InputError) as caught:
        check_choice("rule", name, {"epsilon": 1, "gamma": 2})
    assert str(caught.value) == f"unknown rule {name!r}: {hint}choose one of epsilon, gamma"
    assert check_choice("rule", "gamma", ["epsilon", "gamma"]) == "gamma"


def test_storage_errors_translates_os_errors_only(tmp_path):
    with pytest.raises(StorageError, match=f"^cannot read {tmp_path}/x: No such file") as caught:
        with storage_errors("read", tmp_path / "x"):
            (tmp_path / "x").read_bytes()
    assert isinstance(caught.value, LrpError)
    assert isinstance(caught.value, OSError)
    with pytest.raises(ZeroDivisionError):
        with storage_errors("read", tmp_path):
            raise ZeroDivisionError
    original = StorageError("a sentence")
    with pytest.raises(StorageError) as caught:
        with storage_errors("read", tmp_path):
            raise original
    assert caught.value is original
    with pytest.raises(StorageError) as caught:
        with storage_errors("read", tmp_path):
            raise OSError("no strerror here")
    assert str(caught.value) == f"cannot read {tmp_path}: no strerror here"


def test_results_outlive_another_version_of_the_cache_s_own_code(tmp_path, monkeypatch):
    """joblib deletes what a function gave once its source changed; here the keys alone say what is stale."""
    import inspect

    from lrp_core.study import cache

    monkeypatch.setenv("LRP_CACHE", str(tmp_path))
    text = inspect.getsource(cache)
    results = []
    for source in (text, text.replace("log.info(", "log.debug(")):
        module = {"__name__": cache.__name__, "__package__": cache.__package__}
        file = tmp_path / f"cache{len(results)}.py"
        file.write_text(source)
        exec(compile(source, file, "exec"), module)
        kept = module["Stage"](lambda described: results.append(described) or len(results), str)
        kept.function.__qualname__ = "counted"
        assert kept(7) == 1
    assert results == [7]
