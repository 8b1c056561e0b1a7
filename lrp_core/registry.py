"""Registries: what is known by a name, the project's own entries and those that a person adds at run time.

Entries of your own live in this process alone. `LRP_PLUGINS` names files or modules that add them, separated as
folders are in PATH; each process imports them when it first reads a registry: the command line, the dashboard's server
and the workers of a study alike.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import InputError, check_choice

T = TypeVar("T")

REGISTRIES: dict[str, Registry[object]] = {}
"""Every registry by the kind of what is in it."""


class Registry(Mapping[str, T], Generic[T]):
    """Names and what they stand for, in the order in which they were added. `kind` is what errors call an entry."""

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        self.kind, self._entries = kind, dict(entries)
        self._more: Callable[[], None] | None = None
        self._built_in = frozenset(entries)
        REGISTRIES[kind] = self  # type: ignore[assignment]

    def register(self, name: str, entry: T) -> T:
        """Add an entry of your own, or replace one of your own. Raises `InputError` for a name that is taken."""
        if not name.strip() or "," in name:
            raise InputError(f"a {self.kind} needs a name without commas, not {name!r}")
        if name in self._built_in and self._entries[name] is not entry:
            raise InputError(f"{self.kind} {name!r} is this project's own: choose another name")
        self._entries[name] = entry
        return entry

    def load_first(self, more: Callable[[], None]) -> None:
        """Before the first reading, call `more`, which registers what a person names elsewhere."""
        self._more = more

    def find(self, name: str) -> T:
        """The entry of that name. Raises `InputError` that names the nearest and all of them."""
        self._load()
        return self._entries[check_choice(self.kind, name, self._entries)]

    def is_built_in(self, name: str) -> bool:
        """Whether an entry came with the project."""
        return name in self._built_in

    @property
    def own(self) -> dict[str, T]:
        """The entries that were added at run time."""
        return {name: entry for name, entry in self._entries.items() if name not in self._built_in}

    def __getitem__(self, name: str) -> T:
        self._load()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        load_plugins()
        if self._more:
            more, self._more = self._more, None  # before the call: it reads the registry itself
            try:
                more()
            except BaseException:
                self._more = more
                raise


def own_entries() -> dict[str, dict[str, object]]:
    """What was added to each registry in this process, for another one to `add_entries`."""
    return {kind: registry.own for kind, registry in REGISTRIES.items() if registry.own}


def add_entries(entries: Mapping[str, Mapping[str, object]]) -> None:
    """Add what `own_entries` gave in another process."""
    for kind, own in entries.items():
        for name, entry in own.items():
            REGISTRIES[kind].register(name, entry)


_loaded = False


def load_plugins() -> None:
    """Import what `LRP_PLUGINS` names, once. Raises `InputError` for what cannot be imported."""
    global _loaded
    if _loaded:
        return
    _loaded = True  # before the imports: plugins read registries themselves
    for plugin in filter(None, os.environ.get("LRP_PLUGINS", "").split(os.pathsep)):
        try:
            load_module(plugin)
        except Exception as error:
            _loaded = False
            raise InputError(
                f"LRP_PLUGINS names {plugin}, which cannot be imported: {type(error).__name__}: {error}"
            ) from error


def load_module(plugin: str) -> ModuleType:
    """The module of that name, or in that `.py` file, which is run."""
    if not plugin.endswith(".py"):
        return importlib.import_module(plugin)
    path = Path(plugin).expanduser().resolve()
    name = f"lrp_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def source_of(function: Any) -> str:
    """The source text of a function, or what stands for it where there is none."""
    try:
        return inspect.getsource(function) if function is not None else ""
    except (OSError, TypeError):
        return repr(getattr(function, "__qualname__", type(function).__qualname__))
