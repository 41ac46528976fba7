"""What a probe found, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..models import AGREEMENT, fastest_trial

if TYPE_CHECKING:
    from ..models import Probe, Trial


def show(probe: Probe, kept: Path) -> None:
    """Print a probe."""
    console, reach = Console(soft_wrap=True, highlight=False), probe.reach
    console.print(f"multiple           {reach.multiple}")
    far = f"radius {reach.radius} samples" if reach.locality == "local" else "no radius was found"
    console.print(f"locality           {reach.locality}: {far}, at {reach.tolerance:g} of a score")
    kinds: dict[str, list[str]] = {}
    for name, kind in reach.global_layers:
        kinds.setdefault(kind, []).append(name)
    for kind, names in kinds.items():
        console.print(
            f"  made global by   {len(names)} {kind}: {names[0]}{', ...' * (len(names) > 1)}"
        )
    told = "yes" if reach.batch_invariant else "no: results depend on the tiling"
    console.print(f"batch invariant    {told}")
    console.print(f"other microbatch   changes scores by {reach.microbatch_change:.1e} at most")
    table = Table("runtime", "precision", "microbatch", "s / window", "relative", "agreement")
    for trial in probe.trials:
        table.add_row(*trial.runtime, str(trial.microbatch), *_figures(trial, probe.trials[0]))
    console.print(
        f"window {probe.window}, {probe.threads} threads, {probe.machine}, {probe.sample}"
    )
    console.print(table)
    best = fastest_trial(probe.trials)
    console.print(
        f"fastest            {best.runtime}, of those that agree on {AGREEMENT:.1%}; "
        "segment --precision auto takes it"
        + ("" if probe.on_image else ", once it was measured on an image: --sample")
    )
    console.print(
        f"recommended        window {probe.best_window}, stride {probe.best_stride}, "
        f"margin {probe.best_margin}"
    )
    console.print(f"kept in {kept}")


def _figures(trial: Trial, first: Trial) -> tuple[str, str, str]:
    """Return the seconds of a window, the same relative to the first trial, and the agreement."""
    if trial.seconds is None or trial.agreement is None:
        return "-", "-", trial.problem
    relative = f"{trial.seconds / first.seconds:.2f}" if first.seconds else "-"
    return f"{trial.seconds:.4f}", relative, f"{trial.agreement:.4%}"
