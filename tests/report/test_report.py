"""The report: readable, self-contained, and not to be tricked by names."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiledseg.grid import PATIENT, Grid
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.report import ReportFacts, measure_classes, write_report
from tiledseg.vector import row_measures

EVIL = "<script>alert(1)</script>"


def facts(dims: int) -> ReportFacts:
    """Return the facts of a made-up run whose names are hostile."""
    shape = (30, 40) if dims == 2 else (10, 30, 40)
    grid = Grid.local(shape)
    if dims == 3:
        grid = Grid.from_centers(shape, (0, 0, 0), (1, 1, 3), space=PATIENT)
    schema = ClassSchema((ClassInfo(0, "back", (0, 0, 0)), ClassInfo(7, EVIL, (250, 0, 0))), 0)
    class_map = np.zeros(shape, np.uint8)
    class_map[..., 10:20] = 7
    class_map[..., :2] = 255
    samples = np.array([(class_map == 0).sum(), (class_map == 7).sum()])
    sizes, unit = row_measures(grid)
    return ReportFacts(
        title=EVIL,
        grid=grid,
        schema=schema,
        image=np.random.default_rng(0).integers(0, 999, (4, *shape)),
        valid=class_map != 255,
        class_map=class_map,
        channels=("blue", "green", "red", EVIL),
        measures=measure_classes(samples, samples * sizes[0], unit, schema),
        ran={"input": EVIL, "seconds": 3, "tiles_lost": {}},
        config=f"image: {EVIL}",
        versions={"numpy": "2"},
        warnings=(EVIL,),
        outputs=(Path("a.tif"),),
    )


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


@pytest.mark.parametrize("dims", [2, 3])
def test_files(tmp_path: Path, dims: int) -> None:
    made = write_report(tmp_path / "r", facts(dims))
    assert sorted(p.name for p in made) == sorted(p.name for p in (tmp_path / "r").iterdir())
    html = (tmp_path / "r" / "report.html").read_text()
    tags = _Tags()
    tags.feed(html)
    assert "script" not in tags.seen
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert '<tr><td>tiles lost</td><td class="v">none</td></tr>' in html
    values = json.loads((tmp_path / "r" / "report.json").read_text())
    shares = {c["name"]: c["share"] for c in values["classes"]}
    assert shares == {"back": pytest.approx(28 / 38), EVIL: pytest.approx(10 / 38)}
    unit = values["classes"][0]["unit"]
    assert unit == ("samples" if dims == 2 else "ml")
    told = re.findall(r'<th class="n">(.*?)</th>', html)
    assert told == (["share", "samples"] if dims == 2 else ["share", "ml", "samples"])
    assert facts(dims).measures[1].told_amount == ("300" if dims == 2 else "9.00")
    with Image.open(tmp_path / "r" / "picture.png") as image:
        assert min(image.size) > 100
    picture = b64encode((tmp_path / "r" / "picture.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{picture}"' in html


def test_the_picture_shows_the_class_in_its_colour(tmp_path: Path) -> None:
    """Where class 7 lies, red outweighs what the image alone shows; nodata stays clear."""
    from tiledseg.report._pictures import _blend

    f = facts(2)
    gray = np.full((30, 40, 3), 100, np.uint8)
    blended = _blend(gray, f.class_map, f)
    assert (blended[:, 10:20, 0] > 160).all()
    assert (blended[:, 10:20, 1] < 60).all()
    assert (blended[:, :10] == 100).all()
