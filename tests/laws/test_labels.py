"""A schema keeps its classes through JSON, and nodata is never one of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiledseg.errors import ConfigError
from tiledseg.labels import ClassInfo, ClassSchema, default_colors

BYTE = st.integers(0, 255)


@st.composite
def schemas(draw: st.DrawFn) -> ClassSchema:
    """Draw a schema; output channels may share an id, in any order."""
    ids = draw(st.lists(st.integers(0, 65533) | st.integers(0, 9), min_size=1, max_size=12))
    colors = {i: draw(st.tuples(BYTE, BYTE, BYTE)) for i in set(ids)}
    classes = tuple(ClassInfo(i, f"class {i}", colors[i]) for i in ids)
    return ClassSchema(classes, draw(st.none() | st.sampled_from(ids)))


@given(schemas())
def test_json_keeps_everything(schema: ClassSchema) -> None:
    again = ClassSchema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert hash(again) == hash(schema)


@given(schemas())
def test_ids_fit_the_dtype_and_leave_nodata_free(schema: ClassSchema) -> None:
    assert schema.ids.tolist() == [c.id for c in schema.classes]
    assert schema.ids.dtype == schema.dtype
    assert schema.nodata not in schema.ids
    assert schema.nodata == np.iinfo(schema.dtype).max
    assert (schema.dtype == np.uint8) == (max(c.id for c in schema.classes) <= 254)


@pytest.mark.parametrize(("largest", "nodata"), [(254, 255), (255, 65535), (65533, 65535)])
def test_a_class_called_255_does_not_become_nodata(largest: int, nodata: int) -> None:
    schema = ClassSchema((ClassInfo(0, "a", (0, 0, 0)), ClassInfo(largest, "b", (1, 1, 1))))
    assert schema.nodata == nodata
    assert schema.ids.tolist() == [0, largest]


@given(schemas())
def test_unique_classes_ascend_and_none_is_lost(schema: ClassSchema) -> None:
    assert [c.id for c in schema.unique] == sorted({c.id for c in schema.classes})
    assert set(schema.unique) == set(schema.classes)
    assert len(schema) == len(schema.classes)


@given(st.integers(1, 400), st.data())
def test_default_colors_are_distinct_and_the_background_black(
    count: int, data: st.DataObject
) -> None:
    background = data.draw(st.none() | st.integers(0, count - 1))
    colors = default_colors(count, background)
    assert len(set(colors)) == count
    assert all(0 <= value <= 255 for color in colors for value in color)
    assert [i for i, c in enumerate(colors) if c == (0, 0, 0)] == (
        [] if background is None else [background]
    )


def test_the_background_is_found_by_id_not_by_place() -> None:
    entries = [{"id": 5, "name": "bone"}, {"id": 0, "name": "air"}]
    schema = ClassSchema.from_dict({"classes": entries, "background": 0})
    assert [c.color == (0, 0, 0) for c in schema.classes] == [False, True]


def test_ids_and_colours_may_be_left_out() -> None:
    entries = [{"name": "water"}, {"name": "trees"}]
    assert ClassSchema.from_dict({"classes": entries}) == ClassSchema.of_names(["water", "trees"])


def test_things_are_those_that_are_said_to_be_or_all_but_the_background() -> None:
    schema = ClassSchema.of_names(["nothing", "car", "road"], background=0)
    assert schema.things == (1, 2)
    assert schema.with_things([1]).things == (1,)
    assert schema.with_things([]).things == ()
    told = json.loads(json.dumps(schema.with_things([2]).to_dict()))
    assert [c["isthing"] for c in told["classes"]] == [False, False, True]
    assert ClassSchema.from_dict(told) == schema.with_things([2])
    told["classes"][1]["isthing"] = 1  # as COCO writes it
    assert ClassSchema.from_dict(told).things == (1, 2)
    assert "isthing" not in schema.to_dict()["classes"][0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "at least one class"),
        ((ClassInfo(-1, "a", (0, 0, 0)),), r"outside 0\.\.65533"),
        ((ClassInfo(65534, "a", (0, 0, 0)),), r"outside 0\.\.65533"),
        ((ClassInfo(1, "a", (0, 0, 0)), ClassInfo(1, "b", (0, 0, 0))), "'a' and 'b'"),
    ],
)
def test_a_schema_that_cannot_be_stored_is_refused(
    classes: tuple[ClassInfo, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ClassSchema(classes)
