"""Tiles on the workers of a Dask cluster; the only door to dask.distributed and dask-jobqueue."""

from ._clusters import batch_system, local_workers, running_cluster
from ._pool import DaskRunner

__all__ = ["DaskRunner", "batch_system", "local_workers", "running_cluster"]
