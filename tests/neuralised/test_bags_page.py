"""What people read of bags of words is true: the page, the docstring, and the refusal without scikit-learn."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
import torch

import lrp_core as lc
from lrp_core.neuralised import BagOfWords
from tests.support import ROOT, python
from tests.test_package import WITHOUT_EXTRAS


@pytest.mark.slow
def test_the_blocks_of_the_page_run_and_say_what_is_so() -> None:
    page = (ROOT / "docs" / "beyond-networks.md").read_text()
    section = re.split(r"^## ", page.partition("\n## Bags of words\n")[2], flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    exec("\n".join(blocks), names)
    machine, images, asked, words, pixels = (names[n] for n in ("machine", "images", "asked", "words", "pixels"))
    outputs = machine(torch.from_numpy(asked.counts))
    assert asked.counts.shape == (50, 784)
    assert (words.sum(1) - outputs.max(1).values).abs().max() < 1e-11
    assert np.abs(names["patches"].sum(1) - words.sum(1).numpy()).max() < 1e-11
    assert (pixels - torch.from_numpy(asked.to_pixels(words))).abs().max() < 1e-12
    assert torch.allclose(names["network"](images), outputs)
    kept = names["kept"]
    masked = torch.zeros_like(words)
    masked[:, kept] = torch.from_numpy(asked.counts)[:, kept]
    assert torch.allclose(names["small"](masked[:, kept]), machine(masked), rtol=0, atol=1e-12)
    assert names["refitted"].n_features == 196


def test_the_example_of_the_docstring_is_true() -> None:
    (example,) = [test for test in doctest.DocTestFinder(recurse=False).find(BagOfWords, "BagOfWords") if test.examples]
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
    assert lc.BagOfWords is BagOfWords


def test_without_scikit_learn_it_is_refused_in_one_sentence() -> None:
    done = python(WITHOUT_EXTRAS + "import lrp_core as lc\nfrom lrp_core.neuralised import Intersection\nlc.BagOfWords")
    assert done.stderr.splitlines()[-1].endswith(
        "this needs sklearn, which is not installed: pip install 'lrp-core[study]'"
    )
