"""Networks by name, from MONAI: the only door to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns about optional packages while it is imported
    from monai.networks.nets import BasicUNet, DynUNet, SegResNet, UNet

from ..errors import ConfigError
from ._base import ModelCard

#: Networks are named by what users call them; arguments are those of MONAI's classes.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "basic_unet": BasicUNet,
    "segresnet": SegResNet,
    "dynunet": DynUNet,
}


def create_network(card: ModelCard) -> nn.Module:
    """Build the network of a card, with random weights.

    Axes, channels in and channels out are the card's; the rest of ``card.architecture`` goes to
    MONAI's class.

    Raises:
        ConfigError: There is no such architecture, or an argument it does not know.
    """
    arguments: dict[str, Any] = dict(card.architecture)
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ConfigError(
            f"card {card.name!r}: architecture {name!r} is not known; known are "
            f"{', '.join(ARCHITECTURES)}"
        )
    try:
        return ARCHITECTURES[name](
            spatial_dims=card.dims,
            in_channels=len(card.channels),
            out_channels=card.outputs,
            **arguments,
        )
    except Exception as error:  # wrong arguments break MONAI in places of its own, by any error
        reason = " ".join(str(error).split())
        raise ConfigError(f"card {card.name!r}: architecture {name!r}: {reason}") from None
