"""``python -m benchmarks``: tiledseg against its own pure forward pass, MONAI and nnU-Net.

Prints a markdown table per case, and keeps everything in ``results.json`` in the work folder,
where a case that is measured again replaces its former figures. Cases over sizes are drawn into
``figure.png`` there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .cases import CASES, QUICK, QUICK_WAYS, WAYS, Case, Settings, Way
from .figure import draw
from .run import run_case
from .table import header, markdown


def main() -> None:
    """Measure the cases that are asked for."""
    options = _options()
    settings = _settings(options)
    settings.work.mkdir(parents=True, exist_ok=True)
    results = settings.work / "results.json"
    told = header(settings)
    for case in _cases(options):
        found = {"header": told, **run_case(case, settings)}
        known = json.loads(results.read_text()) if results.exists() else {}
        known[case.name] = found
        results.write_text(json.dumps(known, indent=1))
        print(markdown(found), flush=True)
    if any(case.kind == "sizes" and len(case.images) > 1 for case in _cases(options)):
        draw(json.loads(results.read_text()), settings.work / "figure.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [case.name for case in CASES]
    parser.add_argument("--case", nargs="+", choices=names, help="default: all but classes105")
    parser.add_argument("--quick", action="store_true", help="2048^2 and 128^3, one turn")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every extent")
    parser.add_argument("--turns", type=int, help="default 3, quick 1")
    parser.add_argument(
        "--runtimes", nargs="+", metavar="RUNTIME-PRECISION", help="like torch-fp32 compiled-fp32"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; of the peers, too")
    parser.add_argument("--microbatch", type=int, help="windows a call; default: tiledseg's choice")
    parser.add_argument("--memory", default="4GB", help="tiledseg's budget")
    parser.add_argument("--peer-memory", default=12.0, type=float, help="GB that peers may use")
    parser.add_argument("--pure-seconds", type=float, help="of pure forward; 20, quick 5")
    parser.add_argument("--nnunet", type=Path, metavar="VENV", help="see benchmarks.nnunet")
    parser.add_argument("--work", type=Path, default=Path("bench.work"), help="images, results")
    return parser.parse_args()


def _settings(options: argparse.Namespace) -> Settings:
    quick = options.quick
    ways = QUICK_WAYS if quick else WAYS
    if options.runtimes:
        ways = tuple(_way(text) for text in options.runtimes)
    return Settings(
        work=options.work.absolute(),
        turns=options.turns or (1 if quick else 3),
        threads=options.threads,
        memory=options.memory,
        microbatch=options.microbatch,
        enough=options.pure_seconds or (5.0 if quick else 20.0),
        ways=ways,
        nnunet=options.nnunet,
        peer_memory=options.peer_memory * 1e9,
        device=options.device,
    )


def _way(text: str) -> Way:
    runtime, _, precision = text.partition("-")
    return runtime, precision or "fp32"


def _cases(options: argparse.Namespace) -> list[Case]:
    usual = QUICK if options.quick else [case.name for case in CASES if case.by_default]
    wanted = options.case or usual
    chosen = [case for case in CASES if case.name in wanted]
    if options.quick:
        chosen = [case.made_quick() for case in chosen]
    return [case.scaled(options.scale) if options.scale != 1 else case for case in chosen]


main()
