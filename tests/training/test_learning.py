"""Every loss learns something on real cases: hippocampi of the Medical Segmentation Decathlon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tiledseg.training import LOSSES, Job, Options, Recipe, StepsDone, prepare_job, run_training


@pytest.fixture(scope="module")
def hippocampi(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a dataset of three cases."""
    root = data / "medical" / "msd_hippocampus"
    images = sorted((root / "images").glob("*.nii.gz"))[:3]
    cases = [{"image": str(p), "labels": str(root / "labels" / p.name)} for p in images]
    names = ["background", "anterior", "posterior"]
    path = tmp_path_factory.mktemp("hippocampi") / "dataset.yaml"
    path.write_text(yaml.safe_dump({"classes": names, "background": names[0], "cases": cases}))
    return path


def prepared(dataset: Path, loss: dict[str, Any], **network: Any) -> Job:
    architecture = {"name": "unet", "channels": [6, 12], "strides": [2], "norm": "batch"}
    return prepare_job(
        Recipe.parse(
            {
                "data": {"dataset": str(dataset)},
                "network": {"architecture": architecture, **network},
                "patches": {"window": [16, 24, 16], "batch": 2},
                "loss": loss,
                "optimizer": {"rate": 0.01, "schedule": "constant"},
                "run": {"steps": 30, "precision": "fp32"},
            }
        )
    )


def losses(job: Job, out: Path) -> list[float]:
    """Return the mean losses of steps 1 to 10, 11 to 20 ..."""
    found: list[float] = []

    def told(event: Any) -> None:
        if isinstance(event, StepsDone):
            found.append(event.loss)

    run_training(job, out, Options(threads=2), None, told)
    return found


@pytest.mark.data
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_decreases(name: str, hippocampi: Path, tmp_path: Path) -> None:
    found = losses(prepared(hippocampi, {"terms": {name: 1.0}}), tmp_path / "model")
    assert found[-1] < found[0] - 0.1 * abs(found[0])


@pytest.mark.data
def test_weights_smoothing_and_sums_decrease(hippocampi: Path, tmp_path: Path) -> None:
    loss = {
        "terms": {"cross_entropy": 1.0, "dice": 1.0, "boundary": 0.05},
        "class_weights": "median_frequency",
        "smoothing": 0.05,
        "background": False,
    }
    found = losses(prepared(hippocampi, loss), tmp_path / "model")
    assert found[-1] < 0.97 * found[0]


@pytest.mark.data
def test_deep_supervision_learns_and_leaves_no_trace(hippocampi: Path, tmp_path: Path) -> None:
    from tiledseg.models import load_model

    architecture = {
        "name": "plain_conv_unet",
        "features": [6, 8, 10],
        "strides": [1, 2, 2],
        "convs": 1,
        "decoder_convs": 1,
    }
    job = prepared(hippocampi, {"terms": {"dice": 1.0}}, architecture=architecture, deep=1)
    found = losses(job, tmp_path / "model")
    assert found[-1] < 0.97 * found[0]
    assert load_model(tmp_path / "model").card.architecture == architecture
