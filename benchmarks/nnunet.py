"""nnU-Net v2 as a peer, in an environment of its own: ``python -m benchmarks.nnunet FOLDER``.

It pins packages that tiledseg does not want, so it is never installed beside it.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: torch first and pinned: elsewhere pip takes gigabytes of CUDA packages.
_TORCH = "torch==2.13.0"
_PACKAGES = (
    "nnunetv2==2.8.1",
    "dynamic-network-architectures==0.4.4",
    "timm<1.0.23",
    "monai==1.6.1",  # the network is MONAI's
)


def make_env(folder: Path) -> Path:
    """Create the environment (minutes, 3 GB) and return its Python."""
    venv.create(folder, with_pip=True)
    python = python_of(folder)
    for packages in ((_TORCH,), (_TORCH, *_PACKAGES)):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def python_of(folder: Path) -> Path:
    """Return the Python of an environment; not resolved, or it would be the system's."""
    return folder.absolute() / "bin" / "python"


def predictor(network: Any, task: dict[str, Any]) -> Any:
    """Return nnU-Net's predictor around a network of ours: CPU, Gaussian, no mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    made = nnUNetPredictor(
        tile_step_size=task["stride"][0] / task["window"][0],
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    # Of plans and configuration, its sliding window asks no more than this.
    labels = SimpleNamespace(num_segmentation_heads=task["classes"])
    plans = SimpleNamespace(get_label_manager=lambda _: labels)
    configuration = SimpleNamespace(patch_size=tuple(task["window"]))
    made.manual_initialization(network, plans, configuration, None, {}, "none", None)
    return made


if __name__ == "__main__":
    print(make_env(Path(sys.argv[1])))
