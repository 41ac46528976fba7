"""Run nnU-Net v2 itself, in an environment of its own: ``python nnunet_run.py FOLDER NAME...``.

FOLDER holds ``models`` and ``images`` as `nnunet_cases` writes them; labels go to ``expected``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(root: Path, names: list[str]) -> None:
    """Predict the cases, as ``nnUNetv2_predict -device cpu`` does."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(root)
    import torch

    # Where torchvision was built for another torch, its import fails without these.
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    (root / "expected").mkdir(exist_ok=True)
    for name in names:
        (folder,) = (root / "models" / f"Dataset001_{name}").iterdir()
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), None)
        images = [str(path) for path in sorted((root / "images" / name).glob("case_*.nii.gz"))]
        predictor.predict_from_files_sequential([images], [str(root / "expected" / name)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
