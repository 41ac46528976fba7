"""Train the two small networks that the demo is bundled with.

    python examples/train_demo_models.py tiledseg/demo/models

Scenes and phantoms are made as they are needed, from seeds that the demo never uses. About ten
minutes on two cores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, one_hot

from tiledseg.demo import CHANNELS, COVERS, ORGANS, TRAINING_SEEDS, make_phantom, make_scene
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.models import ModelCard, create_network, save_model
from tiledseg.normalize import Clip, Linear, Normalization

Batch = tuple[torch.Tensor, torch.Tensor]

_COVER_COLORS = ("2962c8", "1b5e20", "dec846", "8bc34a", "c62828", "a17954")
_ORGAN_COLORS = ("000000", "64a0e6", "b24030", "e8b440", "8c46a0", "f0ecd6", "dc2828")


def schema(names: tuple[str, ...], colors: tuple[str, ...], background: int | None) -> ClassSchema:
    """Return the classes in the order of the labels."""
    classes = []
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        red, green, blue = bytes.fromhex(color)
        classes.append(ClassInfo(i, name, (red, green, blue)))
    return ClassSchema(tuple(classes), background)


SCENE = ModelCard(
    name="demo land cover",
    format="tiledseg",
    weights="weights.safetensors",
    dims=2,
    channels=CHANNELS,
    schema=schema(COVERS, _COVER_COLORS, None),
    window=(512, 512),
    architecture={
        "name": "unet",
        "channels": [16, 32, 48],
        "strides": [2, 2],
        "num_res_units": 1,
        "norm": "batch",
    },
    multiple=4,
    normalization=Normalization((Linear((0.0005,), (-0.5,)),)),
    locality="local",
    margin=32,
    spacing=(10.0, 10.0),
    licence="Apache-2.0",
    provenance="trained by examples/train_demo_models.py on scenes made by tiledseg.demo",
)
ORGAN = ModelCard(
    name="demo organs",
    format="tiledseg",
    weights="weights.safetensors",
    dims=3,
    channels=("CT",),
    schema=schema(ORGANS, _ORGAN_COLORS, 0),
    window=(96, 96, 96),
    architecture={
        "name": "unet",
        "channels": [8, 16, 32],
        "strides": [2, 2],
        "num_res_units": 1,
        "norm": "batch",
    },
    multiple=4,
    normalization=Normalization((Clip((-1000.0,), (1000.0,)), Linear((0.002,), (0.0,)))),
    locality="local",
    margin=32,
    spacing=(2.0, 1.6, 1.6),
    orientation="SPL",
    licence="Apache-2.0",
    provenance="trained by examples/train_demo_models.py on phantoms made by tiledseg.demo",
)


def patches(card: ModelCard, size: int, count: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of random patches; every image is used for some batches and then dropped."""
    for seed in TRAINING_SEEDS:
        made = make_scene(seed, 768) if card.dims == 2 else make_phantom(seed, (96, 160, 192))
        image = made.image if card.dims == 2 else made.image[None]
        valid = made.valid if card.dims == 2 else np.ones(made.truth.shape, bool)
        values = card.normalization(image, valid)
        truth = np.where(valid, made.truth, 255).astype(np.int64)
        for _ in range(8):
            pairs = [_patch(values, truth, size, rng) for _ in range(count)]
            yield (
                torch.from_numpy(np.stack([x for x, _ in pairs])),
                torch.from_numpy(np.stack([y for _, y in pairs])),
            )


def _patch(values: np.ndarray, truth: np.ndarray, size: int, rng: np.random.Generator) -> tuple:
    """Return a random patch; every other one is centred on a class drawn at random."""
    low = [int(rng.integers(0, n - size + 1)) for n in truth.shape]
    if rng.random() < 0.5:
        wanted = rng.choice(np.unique(truth[truth != 255]))
        places = np.argwhere(truth[::2, ::2] == wanted) * ([2, 2] + [1] * (truth.ndim - 2))
        if len(places):
            center = places[rng.integers(len(places))]
            low = [
                int(np.clip(c - size // 2, 0, n - size))
                for c, n in zip(center, truth.shape, strict=True)
            ]
    if rng.random() < 0.3:  # the image's own border looks different: the network pads with 0
        axis = int(rng.integers(truth.ndim))
        low[axis] = int(rng.choice([0, truth.shape[axis] - size]))
    box = tuple(slice(a, a + size) for a in low)
    x, y = values[(slice(None), *box)], truth[box]
    if truth.ndim == 2:  # a scene has no up; a patient has
        turns = int(rng.integers(4))
        x, y = np.rot90(x, turns, (1, 2)), np.rot90(y, turns)
    return x.copy(), y.copy()


def loss(raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross entropy + (1 - mean Dice); label 255 is ignored."""
    known = truth != 255
    target = one_hot(truth.clamp(max=raw.shape[1] - 1), raw.shape[1]).movedim(-1, 1).float()
    scores = raw.softmax(1) * known[:, None]
    target = target * known[:, None]
    axes = (0, *range(2, raw.ndim))
    dice = (2 * (scores * target).sum(axes) + 1) / ((scores + target).sum(axes) + 1)
    return cross_entropy(raw, truth, ignore_index=255) + 1 - dice.mean()


def train(card: ModelCard, size: int, count: int, steps: int, folder: Path) -> None:
    """Train one network and save it."""
    torch.manual_seed(0)
    network = create_network(card).train()
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    began = time.perf_counter()
    batches = patches(card, size, count, np.random.default_rng(0))
    for step, (x, y) in zip(range(1, steps + 1), batches, strict=False):
        optimizer.zero_grad()
        raw = network(x)
        value = loss(raw, y)
        value.backward()
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            known = y != 255
            right = (raw.argmax(1) == y)[known].float().mean()
            left = (time.perf_counter() - began) / step * (steps - step)
            print(
                f"{card.name}: step {step}/{steps}, loss {value:.3f}, patch accuracy {right:.3f}, "
                f"about {left:.0f} s left",
                flush=True,
            )
    save_model(network, card, folder)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    train(SCENE, size=128, count=12, steps=900, folder=target / "scene")
    train(ORGAN, size=64, count=4, steps=800, folder=target / "organs")
