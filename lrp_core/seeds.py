"""Random numbers that do not meet."""

from __future__ import annotations

import hashlib

import torch

from .errors import InputError


def check_seed(seed: int, what: str = "a seed") -> int:
    """`seed` if every generator takes it, else `InputError`."""
    if not 0 <= seed < 2**32:
        raise InputError(f"{what} must be between 0 and {2**32 - 1}, not {seed}")
    return seed


def generator(seed: int, use: str) -> torch.Generator:
    """Random numbers for one use under a seed.

    Two uses under the same seed must not draw the same numbers: random relevance would then go together with the noise
    that replaces what it removes.
    """
    digest = hashlib.blake2b(f"{use}:{seed}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
