"""What torch's tracing exporter lacks, said in operations that ONNX has."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor
from typing import Any

import torch
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

_OPERATOR, _OPSET = "aten::adaptive_avg_pool2d", 9
#: What the exporter knows is a table of the whole process.
_LOCK = threading.Lock()


@contextmanager
def more_operators() -> Iterator[None]:
    """Let the exporter know adaptive pooling to any number of cells.

    torch's own needs extents that are multiples of it; the pyramids of PSPNet and UPerNet pool to
    6 x 6 cells whatever the window.
    """
    with _LOCK:
        register_custom_op_symbolic(_OPERATOR, _pool, _OPSET)
        try:
            yield
        finally:
            unregister_custom_op_symbolic(_OPERATOR, _OPSET)


def averages(extent: int, cells: int) -> torch.Tensor:
    """Return the matrix (cells, extent) that averages along an axis as torch's adaptive pooling.

    Cell i is the mean of the samples from floor(i extent / cells) to ceil((i + 1) extent / cells).

    >>> averages(3, 2).tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    matrix = torch.zeros(cells, extent)
    for i in range(cells):
        low, high = floor(i * extent / cells), ceil((i + 1) * extent / cells)
        matrix[i, low:high] = 1 / (high - low)
    return matrix


@symbolic_helper.parse_args("v", "is")
def _pool(g: Any, x: Any, cells: Sequence[int]) -> Any:
    if list(cells) == [1, 1]:
        return g.op("GlobalAveragePool", x)
    height, width = symbolic_helper._get_tensor_sizes(x)[2:]
    down = g.op("Constant", value_t=averages(height, cells[0]))
    across = g.op("Constant", value_t=averages(width, cells[1]).T.contiguous())
    return g.op("MatMul", g.op("MatMul", down, x), across)
