"""What a probe found, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..models import Probe


def show(probe: Probe, kept: Path) -> None:
    """Print a probe."""
    console, reach = Console(soft_wrap=True, highlight=False), probe.reach
    console.print(f"multiple           {reach.multiple}")
    console.print(f"locality           {reach.locality}")
    if reach.locality == "local":
        console.print(f"receptive radius   {reach.radius} samples")
        console.print(
            f"effective radius   {reach.effective_radius}, at {reach.tolerance:g} of a score"
        )
    for layer in reach.global_layers:
        console.print(f"  may be global    {layer}")
    told = "yes" if reach.batch_invariant else "no: a sample depends on its neighbours in a batch"
    console.print(f"batch invariant    {told}")
    table = Table("runtime", "precision", "microbatch", "s / window", "relative", "agreement")
    first = probe.trials[0].seconds
    for trial in probe.trials:
        figures = (
            [f"{trial.seconds:.4f}", f"{trial.seconds / first:.2f}", f"{trial.agreement:.4%}"]
            if trial.agreement is not None
            else ["-", "-", trial.problem]
        )
        table.add_row(*trial.runtime, str(trial.microbatch), *figures)
    console.print(
        f"window {probe.window}, {probe.threads} threads, {probe.machine}, {probe.sample}"
    )
    console.print(table)
    console.print(
        f"recommended        window {probe.best_window}, stride {probe.best_stride}, "
        f"margin {probe.best_margin}"
    )
    console.print(f"kept in {kept}")
