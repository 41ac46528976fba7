"""A finished class map -> a smoother one, without small objects, holes and stray parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import report
from ..budget import format_bytes
from ..components import NODATA, require_class_map
from ..document import to_yaml
from ..engine import locked, machine
from ..errors import ConfigError
from ..grid import Grid
from ..io import SinkSpec, Source, create_sink
from ..labels import ClassSchema, schema_of_map
from ..steps import Step, plain_steps, read_steps
from ..vector import row_measures
from ._map_classes import open_map
from ._names import Output, check_outputs, output_path, report_folder, spare_inputs
from ._report import versions
from ._seen import Counted, Picked, count_labels
from ._settings import ignore
from ._stages import Cleaning, OnShare, Stages

#: Bytes that writing takes, at most and per sample of a small map: a COG of 8000^2, measured.
_WRITING, _WRITTEN = 160_000_000, 8


@dataclass(frozen=True)
class Postprocessed:
    """A class map that was written.

    Args:
        outputs: The files made, the map first.
        objects: Components before and after; None where no step looks at them.
        samples: Name of every class -> samples before, and after.
        changed: Samples whose class changed; those of every pass over the map added up.
        seconds: Wall time.
        peak_memory: Most bytes the process held.
    """

    outputs: list[Path]
    objects: tuple[int, int] | None
    samples: dict[str, tuple[int, int]]
    changed: int
    seconds: float
    peak_memory: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "objects": None if self.objects is None else list(self.objects),
            "samples": {name: list(both) for name, both in self.samples.items()},
            "changed": self.changed,
            "seconds": self.seconds,
            "peak_memory": self.peak_memory,
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(map(len, self.samples), default=0)
        lines = [
            f"  {name:{width}}  {before:,} -> {after:,} samples"
            for name, (before, after) in self.samples.items()
        ]
        told = "" if self.objects is None else "{:,} objects -> {:,}; ".format(*self.objects)
        return "\n".join(
            [
                *lines,
                f"{told}{self.changed:,} samples changed, in {self.seconds:.1f} s; peak memory "
                f"{format_bytes(self.peak_memory)}",
                *(f"wrote {path}" for path in self.outputs),
            ]
        )


def postprocess(
    class_map: str | Path,
    out: str | Path,
    steps: Sequence[Step | str | dict[str, Any]],
    *,
    memory: str | None = None,
    with_report: bool = True,
    on_share: OnShare | None = None,
) -> Postprocessed:
    """Change a class map, whatever its size.

    The map is read in whole rows: once to see which classes it has, once by every smoothing, and
    twice by steps in a row that look at objects of one connectivity. Grid, names, colours and
    nodata stay. What each step does is exact and does not depend on how a map is read.

    Args:
        class_map: Class map of any tool: one channel of labels, a scene or a volume. Names and
            colours are taken from it where tiledseg wrote it, colours from a palette; else classes
            are named by their label, and 0 is background unless it is nodata.
        out: Class map to write; the suffix is the format. Between passes, what one leaves lies
            beside it.
        steps: What to do, in this order: `Smooth`, `KeepLargest`, `RemoveSmall` and `FillHoles`, or
            what `tiledseg.steps.read_steps` reads.
        memory: Host memory of the process, like ``6GB``; None takes half of what is free.
        with_report: Whether to write the report folder beside ``out``.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: The image is no class map, a step does not fit it, or ``out`` is the map.
        UnknownFormat: The suffix of ``out`` is none that is written.
        PlanChanged: Another process is writing ``out``.
        BudgetExceeded: It cannot be done within the budget.
        DamagedInput: The map cannot be read.
        OutputFailed: The result cannot be written.
    """
    listed = read_steps(steps, "steps")
    if not listed:
        raise ConfigError("nothing to do: give at least one step, like the least area of an object")
    limit = machine.limit(memory)
    target = output_path("out", str(out))
    source, named = open_map(class_map)
    with source:
        work = _Work(source, (str(class_map), named), target, listed, limit, with_report)
        return work.done(on_share or ignore)


@dataclass
class _Work:
    """A map that is being changed.

    Args:
        source: The map.
        named: What the user calls it, and the classes it was written with, if any.
        target: The map to write.
        steps: What is done.
        limit: Bytes that the process may hold.
        with_report: Whether to leave a report.
    """

    source: Source
    named: tuple[str, ClassSchema | None]
    target: Path
    steps: tuple[Step, ...]
    limit: int
    with_report: bool
    _began: float = field(default_factory=time.perf_counter)

    def done(self, tell: OnShare) -> Postprocessed:
        """Do it, and return what was made."""
        source, grid, (name, named) = self.source, self.source.grid, self.named
        outputs = self._checked()
        stages = Stages.of(self.steps, grid, name)
        taken = machine.resident() + source.working_bytes
        room = self.limit - taken - min(_WRITING, _WRITTEN * grid.box.size)
        stages.require_room(room, self.limit)
        if named is not None:
            stages.facts(named)
        share, before = 1 / (1 + stages.readings), Picked.of(grid.shape)
        counts = count_labels(source, before, stages.samples(room), lambda part: tell(part * share))
        held = np.flatnonzero(counts).tolist()
        schema = schema_of_map(named, held, source.nodata, source.palette)
        spec, shown = _spec(source, schema), Picked.of(grid.shape)
        sizes, unit = row_measures(grid)
        after = Counted(np.array([c.id for c in schema.unique]), sizes)
        with locked(outputs[1].path) as folder:
            cleaning = Cleaning(
                stages,
                stages.facts(schema),
                folder,
                room,
                lambda part: tell(share + part * (1 - share)),
            )
            made = self._written(cleaning, spec, (after, shown))
        pairs = zip(schema.unique, after.samples, strict=True)
        result = Postprocessed(
            made,
            cleaning.objects,
            {c.name: (int(counts[c.id]), int(samples)) for c, samples in pairs},
            cleaning.changed,
            time.perf_counter() - self._began,
            machine.peak(),
        )
        if self.with_report:
            measures = report.measure_classes(after.samples, after.amounts, unit, schema)
            result.outputs.extend(self._reported(result, schema, measures, (before, shown)))
        return result

    def _checked(self) -> list[Output]:
        """Return what will be written, the map and the place for passes first.

        Raises:
            ConfigError: It would destroy something, or the source is no class map.
        """
        outputs = [Output("out", self.target), Output("work", _work(self.target), "passing")]
        if self.with_report:
            outputs.append(Output("the report", report_folder(self.target), "folder"))
        check_outputs(outputs)
        spare_inputs(outputs, self.source.files())
        require_class_map(self.source)
        return outputs

    def _written(
        self, cleaning: Cleaning, spec: SinkSpec, seen: tuple[Counted, Picked]
    ) -> list[Path]:
        """Write the map, whole or not at all."""
        sink, nodata = create_sink(self.target, spec), int(spec.nodata or 0)
        try:
            sink.prepare()
            for box, labels in cleaning.blocks(self.source):
                values = np.where(labels == NODATA, nodata, labels).astype(spec.dtype)
                sink.write(box, values[np.newaxis])
                for one in seen:
                    one.add(box, labels)
            return sink.commit()
        except BaseException:
            sink.abort()
            raise

    def _reported(
        self,
        result: Postprocessed,
        schema: ClassSchema,
        measures: tuple[report.ClassMeasure, ...],
        seen: tuple[Picked, Picked],
    ) -> list[Path]:
        """Write the report: before, after and difference."""
        before, after = (picked.labels for picked in seen)
        objects = "not looked at"
        if result.objects is not None:
            objects = "{:,} before, {:,} after".format(*result.objects)
        facts = report.ReportFacts(
            title=f"{self.target.name}: {Path(self.named[0]).name}, post-processed",
            grid=self.source.grid,
            schema=schema,
            image=before[np.newaxis],
            valid=before != NODATA,
            class_map=after,
            channels=("before",),
            measures=measures,
            ran={
                "input": self.named[0],
                "samples": " x ".join(map(str, self.source.grid.shape)),
                "picture": "before, after, and where they differ",
                "samples_changed": f"{result.changed:,}",
                "objects": objects,
                **{f"samples of {k}": f"{a:,} -> {b:,}" for k, (a, b) in result.samples.items()},
                "seconds": round(result.seconds, 2),
                "peak_memory": format_bytes(result.peak_memory),
                "memory_budget": format_bytes(self.limit),
            },
            config=to_yaml({"postprocess": plain_steps(self.steps)}),
            versions=versions(),
            warnings=(),
            outputs=tuple(result.outputs),
        )
        return report.write_report(
            report_folder(self.target), facts, _panel(before, after, self.source.grid)
        )


def _panel(before: NDArray[np.int32], after: NDArray[np.int32], grid: Grid) -> report.Panel:
    """Return before, after and difference; of a volume the slice of most changes."""
    if grid.ndim == 3:
        worst = int((before != after).sum(axis=(1, 2)).argmax())
        before, after = before[worst], after[worst]
    sizes = zip(grid.shape[-2:], grid.spacing[-2:], strict=True)
    height, width = (samples * spacing for samples, spacing in sizes)
    known, left = before != NODATA, after != NODATA
    return report.Panel("changes", before, after, known, left, (height, width))


def _work(target: Path) -> Path:
    """Return where passes leave their maps."""
    return target.with_name(f"{target.name}.passes")


def _spec(source: Source, schema: ClassSchema) -> SinkSpec:
    """Return what the new map is like: as the old one."""
    dtype, nodata = schema.dtype, schema.nodata
    declared = source.nodata
    if declared is not None and declared in range(2**16) and declared not in schema.ids:
        nodata = int(declared)
        dtype = np.result_type(dtype, np.min_scalar_type(nodata))
    return SinkSpec(source.grid, dtype, ("class",), nodata, schema)
