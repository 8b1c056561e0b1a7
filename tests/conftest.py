"""What all tests share: a cache folder of their own, and small data that train in a moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from lrp_core.data import Dataset

settings.register_profile(
    "lrp", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("lrp")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small are an order of magnitude slower on several threads of a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache folder for the whole session, so that no test ever touches the real one."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRP_CACHE", str(folder))
        yield folder


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder for this test alone; no data set stays loaded before or after it."""
    from lrp_core import data

    folder = tmp_path / "own-cache"
    monkeypatch.setenv("LRP_CACHE", str(folder))
    data._load.cache_clear()
    yield folder
    data._load.cache_clear()


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No shape and type checks inside lrp_core, as its users run it: what is refused is refused by the code itself."""
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """What a test adds to a registry is gone after it, stand-ins for what a study names included."""
    from lrp_core.registry import REGISTRIES

    before = {kind: dict(registry._entries) for kind, registry in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry._entries = before.get(kind, {name: registry._entries[name] for name in registry._built_in})


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The real MNIST, as the project ships it."""
    from lrp_core.data import load_dataset

    return load_dataset("mnist")


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """Three classes of 6x6 images, told apart by which two rows are bright: 240 / 60 / 60 of them."""
    from .support import toy_dataset

    return toy_dataset()
