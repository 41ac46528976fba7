"""What training takes from MONAI: the only door to it in this room."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns about optional packages while it is imported
    from monai.losses import DiceLoss, HausdorffDTLoss, TverskyLoss
    from monai.losses.cldice import soft_skel
    from monai.networks.layers import GaussianFilter
    from monai.transforms.utils import distance_transform_edt

__all__ = [
    "DiceLoss",
    "GaussianFilter",
    "HausdorffDTLoss",
    "TverskyLoss",
    "distance_transform_edt",
    "soft_skel",
]
