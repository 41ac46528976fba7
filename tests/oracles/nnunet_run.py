"""Run nnU-Net v2 itself, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path


def predict(model: Path, images: list[Path], out: Path, before: Path | None = None) -> None:
    """Predict a case, as ``nnUNetv2_predict -device cpu`` does.

    Args:
        model: Folder of the trained model.
        images: A file per channel.
        out: The labels' file, without its suffix.
        before: Folder with the labels of the stage before, for a cascade.
    """
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(out.parent)
    import torch

    # Where torchvision was built for another torch, its import fails without these.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        with suppress(RuntimeError):  # there already
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), None)
    predictor.predict_from_files_sequential(
        [list(map(str, images))],
        [str(out)],
        folder_with_segs_from_prev_stage=None if before is None else str(before),
    )


def main(out: Path, asked: dict[str, list[str]]) -> None:
    """Predict cases: name -> model, images, name of the case that is the stage before."""
    out.mkdir(exist_ok=True)
    for name, (model, *images, before) in asked.items():
        stage = out / f"before_{name}" if before else None
        if stage is not None:
            stage.mkdir()
            shutil.copy(out / f"{before}.nii.gz", stage / "case.nii.gz")
        predict(Path(model), [Path(image) for image in images], out / name, stage)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
