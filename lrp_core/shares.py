"""Shares of the inputs as numbers of them."""

from __future__ import annotations

from .errors import InputError


def keep_for_share(share: float, n_groups: int) -> int:
    """How many of `n_groups` stay when `share` of them is removed: 15 % of 784 removes 118."""
    if not 0 <= share < 1:
        raise InputError(f"the share removed must be at least 0 and below 1, not {share}")
    return max(1, n_groups - round(share * n_groups))


def percent_removed(keep: int, n_groups: int) -> int:
    """The largest whole per cent of the inputs, or groups, that can be removed so that at least `keep` of them stay."""
    return max(percent for percent in range(100) if keep_for_share(percent / 100, n_groups) >= keep)
