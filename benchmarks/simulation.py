"""``python -m benchmarks.simulation``: the driver of many workers, at sizes no test reaches.

Prints markdown tables. First the real driver loop, plan and tally with simulated workers: tiles
take seconds of a simulated clock, workers come and go, some tiles fail. Then real Dask workers on
this machine with tiles that do nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator

from tiledseg.engine import (
    Event,
    OnEvent,
    Tally,
    TileDone,
    TileLost,
    Unit,
    machine,
)
from tiledseg.engine._dask import local_workers
from tiledseg.engine._driver import Driver
from tiledseg.grid import Grid
from tiledseg.planning import ModelShape, make_plan
from tiledseg.tiling import TilePlan, TilingSpec

from .simulated import WINDOWS, SimulatedPool, Weather
from .trivial import Trivial

_CLASSES = 6
_TASK = Trivial()
#: Shares of the run at which memory and the estimate are looked at.
_LOOKS = (0.01, 0.1, 0.5, 0.9, 1.0)


def main() -> None:
    """Simulate, then measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--tiles", type=int, default=1_000_000, help="0: none simulated")
    parser.add_argument("--workers", type=int, default=4000, help="simulated ones")
    parser.add_argument("--real-tiles", type=int, default=10_000, help="0: no real ones")
    parser.add_argument("--real-workers", type=int, default=4)
    options = parser.parse_args()
    if options.tiles:
        simulate(options.tiles, options.workers)
    if options.real_tiles:
        measure(options.real_tiles, options.real_workers)


# --------------------------------------------------------------------- simulated


class _Watch:
    """Looks at memory and at the estimate as tiles end."""

    def __init__(self, tiles: int, pool: SimulatedPool) -> None:
        self._pool, self._windows = pool, 0
        self._marks = {max(1, round(share * tiles)): share for share in _LOOKS}
        self._total, self._ended = tiles * WINDOWS, 0
        self.memory: dict[float, int] = {}
        self.expected: dict[float, float] = {}
        self.given_out = self.cpu = 0.0

    def units(self, plan: TilePlan, listener: OnEvent) -> Iterator[Unit]:
        """Yield the units of a plan."""
        for i in range(len(plan)):
            began = time.thread_time()
            tile = plan[i]
            self.cpu += time.thread_time() - began
            yield Unit(_TASK, tile, listener)
        self.given_out = self._pool.now()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if not isinstance(event, TileDone | TileLost):
            return
        self._ended += 1
        self._windows += WINDOWS
        share = self._marks.get(self._ended)
        if share is not None:
            now = self._pool.now()
            self.memory[share] = machine.resident()
            self.expected[share] = now * self._total / self._windows


def simulate(tiles: int, workers: int) -> None:
    """Run the real driver with simulated workers."""
    plan, weather = _plan(tiles), Weather()
    pool = SimulatedPool(workers, len(plan), weather)
    watch = _Watch(len(plan), pool)
    tally = Tally(len(plan), _CLASSES, watch)
    began = time.thread_time()
    Driver(pool, watch.units(plan, tally)).run()
    cpu = (time.thread_time() - began - pool.cpu) / len(plan)
    assert sum(tally.done) + len(tally.lost) == len(plan)
    assert set(tally.lost) == pool.broken | pool.poison
    took = pool.now()
    print(f"## The driver with {workers:,} simulated workers and {len(plan):,} tiles\n")
    print(
        f"Tiles of {weather.median:g} s (median, log-normal); {weather.transient:.0%} of them meet "
        f"errors that pass, {weather.slow:.1%} take 20 times as long, {weather.hung} hang, "
        f"{weather.broken} are broken, {weather.poison} kill their workers; a worker is taken away "
        f"every {weather.life / 3600:g} h and replaced after {weather.away:g} s.\n\nSimulated: "
        f"{took / 60:.1f} min, the last {(took - watch.given_out) / 60:.1f} after all tiles "
        f"were given out; {pool.deaths:,} deaths of workers, {pool.messages:,} messages, "
        f"{pool.submitted - len(plan):,} second copies; {len(tally.lost)} tiles lost, as meant; "
        f"never more than {pool.most:.2f} copies in flight per worker.\n"
    )
    _table(
        ["tiles ended", "driver's RSS MB", "estimate of the whole run, min", "error"],
        (
            [
                f"{share:.0%}",
                f"{watch.memory[share] / 1e6:.1f}",
                f"{watch.expected[share] / 60:.1f}",
                f"{watch.expected[share] / took - 1:+.1%}",
            ]
            for share in _LOOKS
        ),
    )
    planning = watch.cpu / len(plan)
    names = ["driver's CPU us per tile", "of which finding the tile", "tiles per second of CPU"]
    _table(names, [[f"{cpu * 1e6:.0f}", f"{planning * 1e6:.0f}", f"{1 / cpu:,.0f}"]])


def _plan(tiles: int) -> TilePlan:
    """Return a plan of a square scene with about so many tiles."""
    side, core = max(1, round(tiles**0.5)), 4096
    spec = TilingSpec(window=(512, 512), stride=(256, 256), core=(core, core))
    grid = Grid.local((side * core, side * core))
    return make_plan(grid, spec, ModelShape((512, 512), 16, True, 0), 1, 1)


# --------------------------------------------------------------------- real


class _Count:
    """Counts units taken and ended, and looks at memory."""

    def __init__(self) -> None:
        self.taken = self.ended = self.most = 0

    def units(self, plan: TilePlan, seconds: float) -> Iterator[Unit]:
        """Yield the units of a plan whose tiles take so many seconds."""
        task = Trivial(seconds)
        for tile in plan:
            self.taken += 1
            self.most = max(self.most, self.taken - self.ended)
            yield Unit(task, tile, self)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self.ended += isinstance(event, TileDone | TileLost)


def measure(tiles: int, workers: int) -> None:
    """Compute tiles that do nothing on real Dask workers of this machine."""
    print(f"## {workers} Dask workers on this machine, tiles that do nothing\n")
    rows = []
    with local_workers(workers, 0, lambda text: None) as runner:
        runner.run(_Count().units(_plan(100), 0.0))  # workers import what they need
        for count, seconds in ((100, 0.0), (tiles // 10, 0.0), (tiles, 0.0), (tiles // 20, 0.2)):
            plan, counted = _plan(count), _Count()
            began, cpu = time.perf_counter(), time.process_time()
            runner.run(counted.units(plan, seconds))
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            assert counted.ended == len(plan)
            rows.append(
                [
                    f"{len(plan):,} of {seconds:g} s",
                    f"{took:.1f}",
                    f"{(took / len(plan) - seconds / workers) * 1e3:.1f}",
                    f"{(took / len(plan) * workers - seconds) * 1e3:.1f}",
                    f"{cpu / len(plan) * 1e3:.1f}",
                    f"{counted.most / workers:.2f}",
                    f"{machine.resident() / 1e6:.0f}",
                ]
            )
    names = ["tiles", "s", "overhead: ms of the run per tile", "ms of a worker per tile"]
    more = ["CPU ms of driver and scheduler", "most in flight per worker", "driver's RSS MB"]
    _table([*names, *more], rows)


def _table(names: list[str], rows: Iterable[list[str]]) -> None:
    for cells in [names, ["---"] * len(names), *rows]:
        print("| " + " | ".join(cells) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
