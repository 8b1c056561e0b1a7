"""Parts that need more than torch, numpy, jaxtyping and safetensors are refused by the name of the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MissingExtra

EXTRAS: dict[str, str] = {
    **dict.fromkeys(["filelock", "jinja2", "joblib", "pandas", "scipy", "sklearn", "torchvision", "tqdm"], "study"),
    "pyarrow": "parquet",
    **dict.fromkeys(["plotly", "streamlit"], "app"),
    **dict.fromkeys(["dask", "distributed"], "cluster"),
}
"""Package -> the extra of this project that installs it."""


@contextmanager
def from_extra() -> Iterator[None]:
    """Imports inside are of packages that only an extra installs. Raises `MissingExtra` if one is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(error) from error


def missing(error: ModuleNotFoundError) -> ModuleNotFoundError | MissingExtra:
    """The refusal that says what to install, or `error` itself if no extra has what is lacking."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return error
    extra = EXTRAS[package]
    return MissingExtra(f"this needs {package}, which is not installed: pip install 'lrp-core[{extra}]'")
