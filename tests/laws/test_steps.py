"""Steps are written and read back; what is no step is one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tiledseg.errors import ConfigError
from tiledseg.steps import (
    FillHoles,
    KeepLargest,
    RemoveSmall,
    Smooth,
    Step,
    plain_steps,
    read_steps,
)

NEIGHBOURS = st.sampled_from((None, 4, 8, 6, 18, 26))
CLASSES = st.lists(st.sampled_from(("liver", "a b", 3)), max_size=2, unique=True).map(tuple)
REST = st.sampled_from(("background", "nodata"))
AMOUNTS = st.floats(1e-6, 1e6) | st.integers(1, 10**9)
STEPS = st.one_of(
    st.builds(Smooth, AMOUNTS, st.sampled_from(("samples", "m", "mm"))),
    st.builds(KeepLargest, CLASSES, REST, st.booleans(), NEIGHBOURS),
    st.builds(
        RemoveSmall, AMOUNTS, st.sampled_from(("samples", "m2", "mm3")), REST, CLASSES, NEIGHBOURS
    ),
    st.builds(RemoveSmall, AMOUNTS, becomes=st.just("neighbour")),
    st.builds(FillHoles, NEIGHBOURS),
)


@given(st.lists(STEPS, max_size=4))
def test_what_is_written_is_read(steps: list[Step]) -> None:
    text = yaml.safe_dump(plain_steps(steps))
    assert read_steps(yaml.safe_load(text)) == tuple(steps) == read_steps(steps)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("smooth: 2", Smooth(2)),
        ("smooth: {radius_m: 20}", Smooth(20, "m")),
        ("keep_largest", KeepLargest()),
        ("keep_largest: all", KeepLargest()),
        ("keep_largest: liver", KeepLargest(("liver",))),
        ("keep_largest: [liver, 3]", KeepLargest(("liver", 3))),
        ("keep_largest: {classes: [a, b], together: true}", KeepLargest(("a", "b"), together=True)),
        ("remove_small: 20", RemoveSmall(20)),
        ("remove_small: {area_m2: 400, becomes: neighbour}", RemoveSmall(400, "m2", "neighbour")),
        ("remove_small: {volume_mm3: 50, classes: a}", RemoveSmall(50, "mm3", classes=("a",))),
        ("fill_holes", FillHoles()),
        ("fill_holes: {connectivity: 8}", FillHoles(8)),
    ],
)
def test_short_forms(text: str, step: Step) -> None:
    assert read_steps([yaml.safe_load(text)]) == (step,)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "erode",
            r"^output.postprocess, step 1: there is no step 'erode'; there are smooth, keep_",
        ),
        ({"smooth": -2}, r"step 1: smooth: radius -2 is no number above 0"),
        (
            {"smooth": {}},
            r"smooth: give a radius as one of radius, radius_m, radius_mm, found \{\}",
        ),
        ({"smooth": {"radius": 1, "radius_m": 2}}, "give a radius as one of"),
        ({"smooth": {"radius": 1, "unit": "m"}}, r"there is no setting 'unit'; there are radius,"),
        ({"smooth": 10**400}, "radius 1000000.* is no number above 0"),
        ({"smooth": 10**5000}, "radius a number of thousands of digits is no number above 0"),
        ({"smooth": True}, "radius True is no number above 0"),
        ({"remove_small": {"area_m2": "big"}}, "remove small: least size 'big' is no number above"),
        ({"remove_small": {"area_m2": float("nan")}}, "least size nan is no number above 0"),
        ({"remove_small": {"area_m2": 4, "becomes": "sea"}}, "'sea' is none of background, nodata"),
        ({"remove_small": {"samples": 4, "merge": "x"}}, "no setting 'merge'; there are samples,"),
        ({"keep_largest": {"connectivity": 5}}, "connectivity 5 is none of 4, 8, 6, 18, 26"),
        ({"keep_largest": [[1]]}, r"keep largest: \[1\] is no name and no id of a class"),
        ({"keep_largest": {"together": 1}}, "together 1 is not true or false"),
        ({"fill_holes": 3}, "fill_holes: expected settings, found 3"),
        ({"fill_holes": {}, "smooth": 1}, "expected one of smooth, keep_largest"),
        (7, "expected one of smooth, keep_largest, remove_small, fill_holes, found 7"),
    ],
)
def test_what_is_no_step_is_one_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refusal:
        read_steps([value], "output.postprocess")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("values", ["smooth", {"smooth": 1}, 3, None])
def test_steps_are_a_list(values: Any) -> None:
    with pytest.raises(ConfigError, match="postprocess: expected a list of steps, found"):
        read_steps(values)
