"""Make a trained model small enough for a package, and tell in its card what it can do.

    python examples/bundle_model.py hippocampus-mr notes.txt tiledseg/models/bundled/hippocampus-mr

Weights with several axes become float16 (they are float32 again when loaded); norms and biases stay
as they are. How far the network looks is measured: where it looks only so far, windows become six
times that (of a scene at least 512), and what is tiled equals what is not. The notes are put in
front of what the training says of itself. Figures in them should be measured with the model that
this writes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from tiledseg.models import (
    ModelCard,
    create_network,
    load_model,
    measure_reach,
    read_card,
    save_model,
)


def bundle(trained: Path, notes: str, out: Path) -> None:
    """Write a model of a training as one for the package."""
    card = read_card(trained)
    network = create_network(card)
    network.load_state_dict(load_file(trained / card.weights))
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.data = weights.data.half()
    card = replace(card, provenance=f"{notes.strip()}\n{card.provenance}")
    save_model(network, card, out)
    save_model(network, measured(card, out), out)


def measured(card: ModelCard, model: Path) -> ModelCard:
    """Return a card with how far its network looks, or that it is all over the window."""
    reach = measure_reach(load_model(model))
    if reach.locality == "global":
        return replace(card, locality="global")
    step = reach.multiple
    margin = -(-reach.radius // step) * step
    extent = max(512, 6 * margin) if card.dims == 2 else 6 * margin
    window = (extent,) * card.dims
    return replace(card, locality="local", margin=margin, multiple=step, window=window)


if __name__ == "__main__":
    bundle(Path(sys.argv[1]), Path(sys.argv[2]).read_text(), Path(sys.argv[3]))
