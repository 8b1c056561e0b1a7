"""Every control that a study can have is explained to the person who looks at it."""

from lrp_core.ranking import CONTROLS
from pages._ui import data


def test_every_control_has_a_text():
    assert set(data.CONTROLS) == set(CONTROLS)
