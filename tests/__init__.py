"""The checker of annotations that these tests run lrp_core under: beartype, with an int wherever a float will do."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
