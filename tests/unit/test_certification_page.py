"""What the page about certified pipelines says, and when the run that makes it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

import zoo
from carryon_worker.certify import Control, Verdict
from certification import page, untried
from certification.page import Row

GOOD = Verdict("WanPipeline", "x", calls=8, repeatable=True, exact=True, control=Control.CHANGED, replayed=9, bytes=80)


def row(name: str, verdict: Verdict = GOOD) -> Row:
    entry, sampler = zoo.parse(name)
    return Row(entry, entry.samplers[sampler], verdict)


@pytest.mark.parametrize(
    ("verdict", "wrong"),
    [
        (GOOD, False),
        (replace(GOOD, exact=False, problem="a resumed run gives other bits"), True),
        (replace(GOOD, recomputed=1), True),
        (replace(GOOD, repeatable=False, exact=None), True),
        # Nothing was found out, so nothing is wrong.
        (replace(GOOD, exact=None, repeatable=None, problem="it can't be loaded"), False),
    ],
)
def test_an_answer_is_wrong_if_a_resumed_unit_is_not_what_it_should_be(verdict: Verdict, wrong: bool) -> None:
    assert row("wan", verdict).wrong is wrong


def test_a_pipeline_counts_only_if_it_is_certified_with_every_sampler() -> None:
    rows = [row("wan+unipc"), row("wan+euler", replace(GOOD, exact=False)), row("ltx")]
    assert page.certified_classes(rows) == ["LTXPipeline"]


def test_the_page_tells_entries_of_one_class_apart_and_says_what_is_set() -> None:
    text = page.of(
        [row("wan+stochastic"), row("wan-2.1+unipc"), row("flux", Verdict("FluxPipeline", "", problem="why"))]
    )
    assert (
        "| WanPipeline, two transformers | FlowMatchEulerDiscreteScheduler shift=3.0 stochastic_sampling=True"
        " | 8 | yes | yes | another result | 10 |" in text
    )
    assert "| WanPipeline | UniPCMultistepScheduler " in text
    assert "**1 pipeline classes with 2 pairs of pipeline and sampler are certified; wrong answers: 0.**" in text
    assert "| FluxPipeline | FlowMatchEulerDiscreteScheduler use_dynamic_shifting=True shift=3.0 | why |" in text


def test_a_pipeline_that_was_not_tried_stands_under_its_reason() -> None:
    assert "comes from a hub" in untried.why("CosmosTextToWorldPipeline")
    assert "as tensors" in untried.why("KandinskyV22Pipeline")
    assert untried.why("AltDiffusionPipeline") == "deprecated by diffusers"
    tried = {entry.pipeline for entry in zoo.ENTRIES.values()}
    listed = page.of([row("wan")]).split("Not tried")[1]
    assert "WanPipeline," not in listed
    assert all(name in listed for name in tried - {"WanPipeline"})
