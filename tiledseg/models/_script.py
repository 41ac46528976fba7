"""TorchScript archives: a program for torch's own interpreter, which knows no Python.

Such a program can compute whatever it likes, and has two operations that touch files: an archive
that names them is refused before it is loaded. It brings no pickled Python objects.
"""

from __future__ import annotations

import io
import re
import tokenize
import warnings
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, DamagedInput
from ._archive import packed, read_archive

#: Operations of TorchScript that read or write files (`aten::save`, `aten::from_file`).
_FILES = {"save", "from_file"}
#: Families of operations a network is made of; others send over networks, or run Python.
_FAMILIES = {"aten", "prim", "prims", "quantized", "torchvision", "mkldnn", "mkldnn_prepacked"}


def load_script(path: Path, device: torch.device | str = "cpu") -> torch.nn.Module:
    """Return the network of a TorchScript archive, in evaluation mode on a device.

    Raises:
        ConfigError: It does more than compute.
        DamagedInput: It is no such archive, or is damaged.
    """
    entries = read_archive(path)
    for name, content in entries.items():
        if name.startswith("code/") and name.endswith(".py"):
            _check(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch: take torch.export
            warnings.simplefilter("ignore", FutureWarning)
            network: torch.nn.Module = torch.jit.load(packed(entries), map_location=device)
    except Exception as error:  # what torch says of a bad archive shares no base but Exception
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable TorchScript file: {told}") from None
    return network.eval()


def _check(path: Path, source: bytes) -> None:
    """Refuse a source that names what touches more than tensors.

    Raises:
        ConfigError: It does.
        DamagedInput: It is no source.
    """
    try:
        words = [t.string for t in tokenize.tokenize(io.BytesIO(source).readline)]
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError) as error:
        raise DamagedInput(f"{path} is not a usable TorchScript file: {error}") from None
    named = _FILES & set(words)
    if named:
        raise ConfigError(
            f"{path} is TorchScript that calls {named.pop()!r}, which reads or writes files: no "
            "network does, and it is not run"
        )
    for i, word in enumerate(words[:-2]):
        if word == "ops" and words[i + 1] == "." and words[i + 2] not in _FAMILIES:
            raise ConfigError(
                f"{path} is TorchScript that needs operations of another library "
                f"({words[i + 2]}): export it from plain torch"
            )


def first_kernel(network: torch.nn.Module) -> tuple[int, ...] | None:
    """Return the extents of the first convolution's kernel, (k, c, *extents), if there is one."""
    shapes = (tuple(p.shape) for name, p in network.named_parameters() if _is_kernel(name, p))
    return next(shapes, None)


def _is_kernel(name: str, parameter: Any) -> bool:
    return parameter.ndim in (4, 5) and re.search(r"weight$", name) is not None
