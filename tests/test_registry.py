"""Registries: names of the project's own stay what they are, names of your own reach every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrp_core.errors import InputError
from lrp_core.registry import REGISTRIES, Registry, add_entries, own_entries

from .support import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def colours():
    yield Registry("colour", {"red": 1, "green": 2})
    del REGISTRIES["colour"]


def test_reads_like_a_dictionary_in_the_order_of_entry(colours):
    colours.register("azure", 3)
    assert list(colours) == ["red", "green", "azure"]
    assert colours["azure"] == colours.find("azure") == 3
    assert colours.own == {"azure": 3}
    assert not colours.is_built_in("azure")
    assert colours.is_built_in("red")


def test_an_own_entry_can_be_replaced_and_a_built_in_one_cannot(colours):
    colours.register("azure", 3)
    colours.register("azure", 4)
    assert colours["azure"] == 4
    with pytest.raises(InputError, match="colour 'red' is this project's own"):
        colours.register("red", 9)
    assert colours["red"] == 1


@pytest.mark.parametrize("name", ["", "  ", "a, b"])
def test_a_name_that_cannot_be_one(colours, name):
    with pytest.raises(InputError, match="needs a name without commas"):
        colours.register(name, 3)


def test_an_unknown_name_is_refused_with_the_nearest(colours):
    with pytest.raises(InputError, match="unknown colour 'gren': did you mean 'green'"):
        colours.find("gren")


def test_entries_reach_another_process(colours):
    colours.register("azure", 3)
    sent = own_entries()["colour"]
    other = Registry("colour", {"red": 1, "green": 2})
    add_entries({"colour": sent})
    assert other["azure"] == 3


PLUGIN = """
import lrp_core as lc
def last_first(model, split, seed):
    return split.raw[0].flatten().double().cumsum(0)
lc.register_criterion(lc.Criterion("last-first", "by their place, the last one first", score=last_first))
"""


def _info(plugins: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LRP_PLUGINS": plugins, "LRP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "lrp_core", "info"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_a_plugin_is_known_to_the_command_line(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    said = _info(str(plugin), tmp_path)
    assert said.returncode == 0, said.stderr
    assert "last-first" in said.stdout


@pytest.mark.parametrize("content", [None, "1 / 0", "def ("])
def test_a_plugin_that_cannot_be_imported_is_named_in_one_sentence(tmp_path, content):
    plugin = tmp_path / "broken.py"
    if content is not None:
        plugin.write_text(content)
    said = _info(str(plugin), tmp_path)
    assert said.returncode == 2
    assert "broken.py" in said.stderr
    assert "cannot be imported" in said.stderr
    assert "Traceback" not in said.stderr
