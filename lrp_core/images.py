"""Images from files: what a person has at hand, as the networks take it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from .errors import InputError, StorageError, storage_errors


def read_images(paths: Sequence[Path]) -> tuple[list[str], Tensor]:
    """Images [n, channels, height, width] in [0, 1] and a name for each.

    A `.npy` file holds one image or a batch, as bytes or as values in [0, 1]; every other file is an image of any
    kind that Pillow reads, taken as grey. Raises `StorageError` for a file that cannot be read, `InputError`
    for one that holds no image, or for images of different sizes.
    """
    names: list[str] = []
    batches: list[Tensor] = []
    for path in paths:
        batch = _from_array(path) if path.suffix == ".npy" else _from_image(path)
        names += [str(path)] if len(batch) == 1 else [f"{path}[{i}]" for i in range(len(batch))]
        batches.append(batch)
    sizes = {tuple(batch.shape[1:]) for batch in batches}
    if len(sizes) != 1:
        raise InputError(
            f"the images differ in size ({', '.join(map(str, sorted(sizes)))}): give those of one size at a time"
        )
    return names, torch.cat(batches)


def _from_image(path: Path) -> Tensor:
    with storage_errors("read", path):
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("L"))
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            raise InputError(f"{path} is no image that can be read") from error
    return torch.from_numpy(pixels)[None, None].float() / 255


def _from_array(path: Path) -> Tensor:
    with storage_errors("read", path):
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise StorageError(f"{path} is truncated or holds no plain array") from error
    if values.ndim not in (2, 3, 4) or values.dtype.kind not in "uif":
        raise InputError(f"{path} holds {values.dtype} of shape {values.shape}: expected images [n, height, width]")
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 3:
        values = values[:, None]
    images = torch.from_numpy(values.astype(np.float32))
    return images / 255 if values.dtype.kind != "f" else images
