"""What people read: code blocks run, commands parse, links lead somewhere, examples of docstrings are true."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import lrp_core
from lrp_core.cli.arguments import make_dashboard_parser, make_parser
from lrp_core.models import ARCHITECTURES
from lrp_core.ranking import CRITERIA, STRATEGIES

from .support import ROOT, python, readme_blocks
from .test_package import PROJECT

TRACKED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split("\0")
DOCUMENTS = sorted(name for name in TRACKED if name.endswith(".md") and (ROOT / name).is_file())
WIDTH = 100

TOY = """
import lrp_core as lc
from tests.support import toy_dataset, toy_split

toy = lc.Dataset("toy", toy_dataset().classes, *(toy_split(n, seed=i) for i, n in enumerate((1200, 60, 60))))
"""

SMALLER = {
    'lc.load_dataset("mnist")': "toy",
    "keep=157": "keep=min(result.study.keeps)",
    '"out/"': "__import__('sys').argv[1]",
}
"""What the examples are given instead, so that they take a moment."""


@pytest.mark.slow
def test_every_python_block_of_the_readme_runs(tmp_path):
    blocks = readme_blocks("python")
    assert any("lc.run(" in block for block in blocks)
    code = TOY + "\n".join(blocks)
    for text, smaller in SMALLER.items():
        assert text in code
        code = code.replace(text, smaller)
    done = python(code, tmp_path / "out", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "card.json").is_file()


def test_what_the_readme_registers_is_known_by_its_name(tmp_path):
    registering = [block for block in readme_blocks("python") if "lc.register" in block]
    (tmp_path / "mine.py").write_text("import torch\nimport lrp_core as lc\n" + "\n".join(registering))
    code = """
import os, sys
os.environ["LRP_PLUGINS"] = sys.argv[1]
import lrp_core as lc
from tests.support import toy_dataset

data = toy_dataset()
net = lc.build_model("one-layer", data)
assert lc.rank(net, data.train, criterion="brightness").n_inputs == 36
assert lc.rank(net, data.train, strategy="every-other").n_inputs == 36
"""
    done = python(code, tmp_path / "mine.py", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr


def commands() -> list[str]:
    """Every command line in a shell block of the documents, and every whole one between backticks."""
    lines: set[str] = set()
    for name in DOCUMENTS:
        lines |= {line for block in readme_blocks("sh", name) for line in block.splitlines() if line.strip()}
        inline = re.findall(r"`(python -m lrp_core [^`]+)`", (ROOT / name).read_text())
        lines |= {" ".join(line.split()) for line in inline if "..." not in line}
    return sorted(lines)


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_documents_is_one(line):
    program, *words = (word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word))
    if program == "streamlit":
        assert words[:2] == ["run", "app.py"]
        make_dashboard_parser().parse_args(words[words.index("--") + 1 :] if "--" in words else [])
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        assert words[0] == "install"
        assert set(re.findall(r"\[(\w+)\]", line)) <= set(PROJECT["optional-dependencies"])
    elif program == "dask":
        assert words[0] in ("scheduler", "worker")
    else:
        assert [program, *words[:2]] == ["python", "-m", "lrp_core"]
        asked = vars(make_parser().parse_args(words[2:]))
        assert asked.get("model") in {None, *ARCHITECTURES}
        assert set(asked.get("criteria") or ()) <= set(CRITERIA)
        assert {asked.get("strategy", "one-shot"), *(asked.get("strategies") or ())} <= set(STRATEGIES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / name).read_text()):
        assert ((ROOT / name).parent / target).exists(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_prose_is_wrapped(name):
    """Tables, pictures, formulas and code are as wide as they must be."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "![", "$$"))]
    assert [line for line in lines if len(line) > WIDTH and " " in line.strip()] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


MAIN = (
    *("attribute", "Explainer", "rank", "eliminate", "prune_inputs", "fit", "evaluate", "measure_cost", "run"),
    *("export", "read_data", "conv_savings", "neuralise", "refit"),
)


@pytest.mark.parametrize("name", MAIN)
def test_the_examples_of_the_main_functions_are_true(name, own_cache):
    [example] = [
        test for test in doctest.DocTestFinder(recurse=False).find(getattr(lrp_core, name), name) if test.examples
    ]
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example) == (0, len(example.examples))


UNPLAIN = re.compile(r"\b(can(not)? be had|could be had|an" + r"ew|read it so)\b", re.IGNORECASE)


def test_the_words_are_plain():
    said = []
    for name in TRACKED:
        path = Path(name)
        if path.suffix in (".py", ".md", ".toml") or path.name in ("Makefile", "run"):
            lines = (ROOT / path).read_text().splitlines() if (ROOT / path).is_file() else []
            said += [f"{name}:{i}: {line.strip()}" for i, line in enumerate(lines, 1) if UNPLAIN.search(line)]
    assert [line for line in said if not line.startswith("tests/test_documents.py")] == []
