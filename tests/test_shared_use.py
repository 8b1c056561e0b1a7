"""What one visitor of the dashboard can do to others, and to the machine: paths, abandoned work, foreign pages."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from lrp_core import views
from lrp_core.cli.dashboard import given_folders
from lrp_core.errors import Cancelled, InputError
from pages._ui import jobs, shared

from .support import check_sentence, wait_until

# Folders that a visitor may name


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """An allowed folder with one of data in it, beside a folder that is not allowed and links of all sorts."""
    inside, outside = tmp_path / "data", tmp_path / "data-of-others"
    for folder in (inside / "mnist", outside / "secret"):
        folder.mkdir(parents=True)
    (inside / "out").symlink_to(outside)
    (inside / "in").symlink_to(inside / "mnist")
    (inside / "loop").symlink_to(inside / "loop")
    return inside


@pytest.mark.parametrize("path", ["", "mnist", "in", "mnist/../mnist", "./mnist//"])
def test_a_folder_inside_an_allowed_one_is_taken_as_what_it_is(allowed: Path, path: str) -> None:
    found = views.check_folder(f"{allowed}/{path}", views.allowed_folders([allowed]))
    assert found == (allowed if not path else allowed / "mnist")


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "/",
        "{allowed}/..",
        "{allowed}/../data-of-others",
        "{allowed}-of-others",
        "{allowed}/mnist/../../data-of-others/secret",
        "{allowed}/out",
        "{allowed}/out/secret",
        "{allowed}/loop/x",
        "{allowed}/mnist\0",
        "\0",
        "~",
        "~nobody-of-that-name/x",
        "relative",
        "{allowed}/" + "x" * 300 + "/../../..",
    ],
)
def test_any_other_path_is_refused_in_one_sentence(allowed: Path, path: str) -> None:
    with pytest.raises(InputError, match=r"app.py -- --allow FOLDER") as caught:
        views.check_folder(path.format(allowed=allowed), views.allowed_folders([allowed]))
    check_sentence(caught.value)


def test_the_refusal_does_not_tell_what_is_there(allowed: Path) -> None:
    said = []
    for name in ("data-of-others", "nothing-here-either"):
        with pytest.raises(InputError) as caught:
            views.check_folder(str(allowed.parent / name), [allowed])
        said.append(str(caught.value).replace(name, ""))
    assert said[0] == said[1]


def test_a_study_of_a_folder_needs_it_allowed(tmp_path: Path) -> None:
    values = {"dataset": "fashion-mnist", "root": str(tmp_path), "architecture": "softmax", "criteria": ("random",)}
    with pytest.raises(InputError, match="--allow"):
        views.draft_study((0.5,), **values)
    with pytest.raises(Exception, match="fashion-mnist") as caught:  # which is not there, and could be
        views.draft_study((0.5,), allowed=[tmp_path], **values)
    assert "--allow" not in str(caught.value)


def test_the_owners_data_folder_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tmp_path not in views.allowed_folders()
    monkeypatch.setenv("LRP_DATA", str(tmp_path))
    assert tmp_path in views.allowed_folders()


def test_folders_are_given_on_the_command_line(tmp_path: Path) -> None:
    words = ("--allow", "a", "b", "--allow", "c", "--data-root", "d")
    assert given_folders(words) == tuple(map(Path, "abcd"))
    assert given_folders(()) == ()
    with pytest.raises(InputError, match="which is no folder") as caught:
        views.allowed_folders([tmp_path / "missing"])
    check_sentence(caught.value)


# Work of a closed tab


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "UNSEEN_SECONDS", 0.5)


def forever(report) -> None:
    while True:
        report(0.1, "forever")
        time.sleep(0.01)


def test_work_that_nobody_looks_at_any_more_is_given_up(impatient: None) -> None:
    job = jobs.Job("given-up", "key", forever)
    wait_until(lambda: job.is_over)
    assert isinstance(job.error, Cancelled)
    assert job.is_abandoned


def test_work_that_a_page_looks_at_goes_on(impatient: None) -> None:
    job = jobs.Job("looked-at", "key", forever)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        job.look()
        assert not job.is_given_up
        time.sleep(0.01)
    job.cancel()
    wait_until(lambda: job.is_over)
    assert not job.is_abandoned


def test_a_new_person_does_not_wait_behind_abandoned_work(impatient: None) -> None:
    """Not even behind work that takes long to notice that it is given up."""
    go_on, began = threading.Event(), []

    def deaf(report) -> None:
        began.append(1)
        go_on.wait()

    abandoned = [jobs.Job("crowd", number, deaf) for number in range(10)]
    wait_until(lambda: all(job.is_given_up for job in abandoned))
    mine = jobs.Job("crowd", "mine", lambda report: 42)
    wait_until(lambda: mine.look() or mine.is_over)
    assert mine.result == 42
    assert len(began) == 1, "the others never begin"
    go_on.set()
    wait_until(lambda: all(job.is_over for job in abandoned))


def test_the_work_of_a_closed_tab_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GONE_SECONDS", 0.2)
    opened = threading.Event()
    opened.set()
    monkeypatch.setattr(jobs, "_is_open", lambda session: opened.is_set())
    job = jobs.Job("closed", "key", forever)
    wait_until(lambda: job.part)
    time.sleep(0.5)
    assert not job.is_given_up
    opened.clear()
    wait_until(lambda: job.is_over)
    assert job.is_abandoned


# A server that others can reach


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_a_server_for_this_machine_alone_says_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "get_option", {"server.address": address}.get)
    assert shared.warning() is None


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.168.1.7", "workstation"])
def test_a_server_for_others_says_so(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "get_option", {"server.address": address}.get)
    monkeypatch.delenv("LRP_SHARED", raising=False)
    long = shared.warning()
    assert long is not None
    assert "LRP_SHARED=1" in long
    monkeypatch.setenv("LRP_SHARED", "1")
    short = shared.warning()
    assert short is not None
    assert len(short) < len(long)
    assert "LRP_SHARED" not in short
    monkeypatch.setenv("LRP_SHARED", "0")
    assert shared.warning() == long


# Pages of other sites


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of the app, started as its owner does."""
    from tests.browser.conftest import serve

    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running.url.removeprefix("http://")


def handshake(server: str, **headers: str) -> int:
    """The status with which the server answers who wants to open its stream."""
    host, port = server.split(":")
    sent = {
        "Host": server,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    } | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"GET /_stcore/stream HTTP/1.1\r\n{lines}\r\n".encode())
        answer = connection.recv(4096)
    return int(answer.split()[1])


@pytest.mark.slow
def test_the_stream_is_for_the_apps_own_page(server: str) -> None:
    assert handshake(server, Origin=f"http://{server}") == 101
    assert handshake(server, Origin="http://localhost:8501") == 101
    for origin in ("http://evil.example", "https://127.0.0.1.evil.example", "null", "http://192.0.2.1"):
        assert handshake(server, Origin=origin) == 403, origin


@pytest.mark.slow
def test_a_name_of_another_site_for_this_address_is_refused(server: str) -> None:
    """As after DNS rebinding: then the page's own address is the one that it asks."""
    port = server.split(":")[1]
    host = f"evil.example:{port}"
    assert handshake(server, Host=host, Origin=f"http://{host}") == 403


@pytest.mark.slow
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_an_upload_without_the_pages_token_is_refused(server: str, method: str) -> None:
    url = f"http://{server}/_stcore/upload_file/session/file"
    request = urllib.request.Request(url, b"x", {"Origin": "http://evil.example"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert caught.value.code == (403 if method != "POST" else 405)
    assert caught.value.headers.get("Access-Control-Allow-Origin") not in ("*", "http://evil.example")
