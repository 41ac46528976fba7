"""Files of tensors -> plain values, without running what a pickle may ask for."""

from __future__ import annotations

import re
import threading
import warnings
import zipfile
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...errors import DamagedInput

_scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]  # no public name
#: What checkpoints hold besides tensors and plain values, none of which runs anything: numbers of
#: numpy, from before its version 2 too, and what training scripts and Lightning keep settings in,
#: read as plain dicts. A pair gives what stands in a file under a name.
_PLAIN = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    _scalar,
    (_scalar, "numpy.core.multiarray.scalar"),
    torch.torch_version.TorchVersion,
    Namespace,
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
]
_lock = threading.Lock()  # what torch allows is one list for the whole process
#: How many times its own bytes an archive may unpack to, and bytes that are no matter.
_SHRUNK, _SMALL = 4, 64_000_000


def read_checkpoint(path: Path) -> Any:
    """Return what a file of tensors holds: a .safetensors file, or what `torch.save` wrote.

    Raises:
        DamagedInput: It is neither, or it asks for code to be run.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise DamagedInput(f"{path} is not a safetensors file: {error}") from None
    _check_size(path)
    try:
        with _lock, warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN):
            warnings.simplefilter("ignore")  # torch warns of what it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets out every kind of error on strange bytes
        raise DamagedInput(f"{path} {_told(error)}") from None


def _check_size(path: Path) -> None:
    """Refuse an archive that unpacks to far more than its size: torch stores tensors as they are.

    Raises:
        DamagedInput: It does.
    """
    size = 0
    # a zip of a later version is not implemented; what is wrong, torch says
    no_zip = suppress(OSError, ValueError, NotImplementedError, zipfile.BadZipFile)
    with no_zip, zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _SMALL and size > _SHRUNK * path.stat().st_size:
        raise DamagedInput(
            f"{path} is refused: it would unpack {path.stat().st_size} bytes to {size}, which no "
            "file of weights does"
        )


def _told(error: Exception) -> str:
    """Return why a file was not read, without torch's advice to read it in another way."""
    text = " ".join(str(error).split())
    asked = re.search(r"GLOBAL (\S+)", text)
    if asked is not None:
        return (
            f"is refused: to load it, {asked[1]} would have to be run, and only tensors and plain "
            "values are read; save its state dict alone, or take a .safetensors file"
        )
    if "legacy .tar" in text:
        return "is refused: it is of a form older than torch 0.1.10, which is all pickles"
    found = re.search("WeightsUnpickler error: (.+)", text)
    reason = (found[1] if found else text.partition("In PyTorch 2.6")[0]) or type(error).__name__
    return f"is not a file of weights that can be read: {reason[:200]}"
