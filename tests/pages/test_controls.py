"""Criteria are explained by what they say of themselves, those that this process has never heard of among them."""

from __future__ import annotations

from lrp_core import views
from lrp_core.ranking import CRITERIA
from pages._ui import charts_methods, state


def test_a_picker_says_what_every_criterion_is(small):
    offered = state.method_help(views.offers().criteria)
    assert all(criterion.says in offered for criterion in CRITERIA.values())
    shown = state.method_help(small.opened.rankings.says())
    assert [name for name in CRITERIA if f" {name}: " in shown] == sorted(
        small.study.criteria, key=list(CRITERIA).index
    )


def test_methods_of_another_process_have_a_style_of_their_own():
    methods = ("lrp-0", "mine", "mine, patience", "mine, luck", "theirs", "random")
    styles = [charts_methods.style_of(name, methods) for name in methods]
    assert len(set(styles)) == len(methods)
    assert styles[1].color == styles[2].color == styles[3].color
    assert charts_methods.style_of("unlisted, way", methods).color not in {style.color for style in styles}
