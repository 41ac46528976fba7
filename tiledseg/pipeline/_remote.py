"""A tile in another process: everything it needs is opened from the work store, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..config import CombineSpec, RunConfig
from ..engine import Receipt, TileTask, WorkStore, machine, patiently
from ..errors import ConfigError, PlanChanged
from ..models import Model, Runtime, versions_behind
from ..normalize import Normalization
from ..tiling import Tile
from ._frame import Frame
from ._grids import place
from ._image import open_image
from ._network import Networks
from ._roi import open_roi
from ._tasks import tile_task


@dataclass(frozen=True)
class RemoteTask:
    """Computes tiles wherever it is called; small enough to travel with every tile.

    Args:
        work: Where the work store is.
        made_for: Digest of what the store was made for, so that a process that still has the
            store of an earlier run under that name opens it anew.
        halved: Whether to begin with halves of a tile's core, which takes less memory.
    """

    work: str
    made_for: str
    halved: bool = False

    @classmethod
    def of(cls, store: WorkStore) -> RemoteTask:
        """Return the task of a store."""
        uri = store.folder.uri
        return cls(uri if "://" in uri else str(Path(uri).absolute()), store.digest)

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        """Compute one tile, write its core and its receipt.

        Raises:
            ConfigError: Image or model cannot be opened here.
            PlanChanged: They are not those that the run was planned with.
        """
        task = patiently(lambda: _opened(self.work, self.made_for))
        # Done by a worker that died before it could say so: never computed again.
        kept = patiently(lambda: task.store.receipt(tile.index))
        return task(tile, on_windows, self.halved) if kept is None else kept


@lru_cache(maxsize=2)  # tiles of two images are in flight at the seam between them
def _opened(work: str, made_for: str) -> TileTask:
    """Open a work store, and what its tiles are computed with; ``made_for`` as in `RemoteTask`."""
    machine.use_few_arenas()
    store = WorkStore.open(work)
    config, plan, identity = RunConfig.parse(store.config), store.plan, store.identity
    paths = (config.model,) if isinstance(config.model, str) else tuple(config.model)
    runtime = Runtime(plan.runtime, plan.precision)  # type: ignore[arg-type]  # as it was stored
    try:
        wanted = (identity["model"], config.runtime.device, config.combine)
        model = _model(paths, *wanted, runtime, plan.threads)
        opened = open_image(config, config.image, model.card)
        normalization = Normalization.from_list(identity["normalization"])
        frame = None if identity["frame"] is None else Frame.from_dict(identity["frame"])
        grids = place(config, model.card, opened, lambda _: normalization, frame)
        roi = None if config.input.roi is None else open_roi(config.input.roi, grids)
    except ConfigError as error:
        raise ConfigError(f"worker {machine.worker()}: {error}") from None
    for name, found, planned in (
        ("model", model.card.sha256, identity["model"]),
        ("image", grids.source.fingerprint(), identity["input"]),
        ("roi", None if roi is None else roi.fingerprint(), identity["roi"]),
        ("set of library versions", versions_behind(runtime, model.card), identity["libraries"]),
    ):
        if json.loads(json.dumps(found)) != planned:
            raise PlanChanged(
                f"worker {machine.worker()} has another {name} than the run was planned with: "
                f"{str(found)[:200]}, expected {str(planned)[:200]}"
            )
    return tile_task(config, store, grids, model, roi)


@lru_cache(maxsize=1)  # once for all images
def _model(
    paths: tuple[str, ...],
    sha256: str | None,
    device: str | None,
    combine: CombineSpec,
    runtime: Runtime,
    threads: int,
) -> Model:
    """Load a model; the checksum it should have makes a file that was replaced another one."""
    config = RunConfig.parse(
        {"image": "", "model": list(paths), "runtime": {"device": device}, "combine": combine}
    )
    return Networks(config, paths, threads).open(runtime)
