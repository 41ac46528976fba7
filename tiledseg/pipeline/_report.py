"""Gathering the facts of a run for its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from .. import report
from ..budget import format_bytes
from ..config import CombineSpec, RunConfig
from ..engine import Tally, machine
from ..grid import SpaceKind
from ..models import ModelCard, library_versions
from ._job import Job
from ._names import report_folder
from ._outputs import Written

#: Libraries that pixels pass through besides those that run the model.
_PACKAGES = ("numpy", "rasterio", "SimpleITK", "zarr")


@dataclass(frozen=True)
class Ran:
    """How a run went.

    Args:
        planned: Windows of all tiles.
        evaluated: Windows the model saw, those of resumed tiles included.
        skipped: Windows without a sample that is valid, wanted and not air.
        tiles: Number of tiles.
        resumed: Tiles taken over from an earlier run.
        lost: Tiles that failed and are nodata in the result, with the reason.
        unmeasured: Samples that are nodata in the result.
        seam: How much more often neighbours differ at seams than elsewhere; None without seams.
        seconds: Wall time of this run, and of it the time after the last tile.
        waited: Share of the tiles' time that went by waiting for reading, and for writing; of
            the tiles of this run.
        peak_memory: Most bytes the process held.
        runtime: What ran the model, and why.
        changed: Samples whose class the post-processing changed; None: there was none.
    """

    planned: int
    evaluated: int
    skipped: int
    tiles: int
    resumed: int
    lost: dict[int, str]
    unmeasured: int
    seam: float | None
    seconds: tuple[float, float]
    waited: dict[str, float]
    peak_memory: int
    runtime: str
    changed: int | None = None

    def losses(self) -> tuple[str, ...]:
        """Return a sentence on the tiles that failed, with the first reason, where some did."""
        if not self.lost:
            return ()
        tile, reason = next(iter(self.lost.items()))
        return (
            f"{len(self.lost)} of {self.tiles} tiles failed and are nodata; tile {tile}: {reason}. "
            "Run the same command again to compute only those",
        )

    @classmethod
    def of(cls, job: Job, tally: Tally, seam: float | None, seconds: tuple[float, float]) -> Ran:
        """Gather what a run's tally says."""
        busy = tally.seconds or 1.0
        return cls(
            planned=job.plan.planned,
            evaluated=tally.evaluated,
            skipped=tally.skipped,
            tiles=len(job.plan),
            resumed=tally.kept,
            lost=tally.lost,
            unmeasured=prod(job.plan.output.shape) - int(tally.samples.sum()),
            seam=seam,
            seconds=seconds,
            waited={k: tally.waited.get(k, 0.0) / busy for k in ("reading", "writing")},
            peak_memory=machine.peak(),
            runtime=str(job.choice),
        )


def resolved(job: Job) -> RunConfig:
    """Return the config with every default that the bytes depend on written out."""
    plan = job.plan
    tiling = replace(
        job.config.tiling,
        window=plan.window,
        stride=plan.stride,
        margin=plan.margin,
        multiple=plan.multiple,
    )
    name, precision = job.model.runtime
    runtime = replace(
        job.config.runtime,
        device=str(job.model.device),
        runtime=name,
        precision=precision,
        threads=plan.threads,
        microbatch=plan.microbatch,
    )
    return job.config.model_copy(update={"tiling": tiling, "runtime": runtime})


def write_report(
    job: Job,
    out: Path,
    ran: Ran,
    written: Written,
    outputs: tuple[Path, ...],
) -> list[Path]:
    """Write the report folder beside ``out``.

    Returns:
        The files made.
    """
    values, valid = written.overview
    facts = report.ReportFacts(
        title=f"{out.name}: {job.card.name} on {Path(job.source.uri).name}",
        grid=written.grid,
        schema=written.schema,
        image=values,
        valid=valid,
        class_map=written.picks,
        channels=job.source.channels,
        measures=written.measures,
        ran=_told(job, ran),
        config=resolved(job).to_yaml(),
        versions=versions(),
        warnings=(*warnings(job, ran), *ran.losses()),
        outputs=outputs,
        made_from=job.made_from,
    )
    return report.write_report(report_folder(out), facts)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that pixels pass through."""
    return library_versions(_PACKAGES)


def _told(job: Job, ran: Ran) -> dict[str, Any]:
    """Return how it ran, in words and figures."""
    plan, seconds = job.plan, ran.seconds[0]
    samples = plan.output.box.size
    return {
        "input": job.source.uri,
        **job.choice.describe(),
        "model": f"{job.card.name} ({(job.card.sha256 or '')[:12]})",
        "image": " x ".join(map(str, job.grids.image.grid.shape)),
        **_nowhere(job),
        **({} if job.grids.told is None else {"resampled": job.grids.told}),
        **_elsewhere(job),
        **({} if job.own is None else {"own_code": f"run, of {job.own.bundle.path}"}),
        "window": " x ".join(map(str, plan.window)),
        "stride": " x ".join(map(str, plan.stride)),
        "margin": plan.margin,
        **_asked(job.config, job.card),
        "tiles": ran.tiles,
        "tiles_resumed": ran.resumed,
        "tiles_lost": ran.lost,
        "windows_planned": ran.planned,
        "windows_evaluated": ran.evaluated,
        "windows_skipped": ran.skipped,
        "share_skipped": f"{ran.skipped / max(1, ran.planned):.1%}",
        "extra_work": f"{plan.extra_work:.1%}",
        **({} if ran.changed is None else {"samples_post_processed": f"{ran.changed:,}"}),
        "nodata_samples": ran.unmeasured,
        "seam_figure": None if ran.seam is None else round(ran.seam, 3),
        "seconds": round(seconds, 2),
        "seconds_assembling": round(ran.seconds[1], 2),
        "samples_per_second": round(samples / seconds) if seconds else None,
        "model_waited": " and ".join(f"{v:.1%} for {k}" for k, v in ran.waited.items()),
        "peak_memory": format_bytes(ran.peak_memory),
        "memory_budget": format_bytes(job.budget.host),
    }


def _nowhere(job: Job) -> dict[str, Any]:
    """Return what is missing where nobody can say how large the image is on the ground."""
    if job.grids.image.grid.space.kind is not SpaceKind.LOCAL:
        return {}
    return {"georeference": "none to measure by: amounts are in samples"}


def _elsewhere(job: Job) -> dict[str, Any]:
    """Return the grids besides the image's, by their shapes."""
    told = {"model_grid": job.plan.grid.shape, "result_grid": job.plan.output.shape}
    own = job.grids.image.grid.shape
    return {name: " x ".join(map(str, shape)) for name, shape in told.items() if shape != own}


def _asked(config: RunConfig, card: ModelCard) -> dict[str, Any]:
    """Return what of the image was asked for, and in which views, where it is not all and plain."""
    told: dict[str, Any] = {}
    if config.input.roi is not None:
        told["region_of_interest"] = config.input.roi
    if config.input.skip_below is not None:
        told["air_below"] = config.input.skip_below
    if config.combine != CombineSpec() or card.mirror:
        spec = config.combine
        told["mirrored_axes"] = card.mirror if spec.mirror is None else spec.mirror
        told["quarter_turns"] = spec.quarter_turns
        told["averaged"] = spec.average or card.average
    return told


def warnings(job: Job, ran: Ran) -> tuple[str, ...]:
    """Return what the user should know of a run."""
    if ran.lost or ran.unmeasured < prod(job.plan.output.shape):
        return job.warnings
    where = "" if job.roi is None else " inside the region of interest"
    return (*job.warnings, f"nothing was segmented: {job.source.uri} has no valid sample{where}")
