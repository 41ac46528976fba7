"""What is wrong with a dataset, and what a trainer should know of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ..errors import TiledsegError
from ._case import TEST, Case, telling
from ._census import CaseCensus, Census
from ._counting import census_of
from ._dataset import Dataset

#: Share of the labelled samples below which a class is called rare.
_RARE = 0.001
#: Shares of samples without truth, or not measured, above which a case is named.
_MOSTLY = 0.5
#: Ratio of the coarsest to the finest spacing of 2-D images above which it is told.
_SCALES = 1.5
#: Marks, classes or cases that a sentence names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Args:
        kind: An ``error`` prevents an honest training; a ``warning`` does not.
        text: What it is and what to do, in one sentence.
        cases: Names of the cases it is about; none: the dataset.
    """

    kind: Literal["error", "warning"]
    text: str
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """A dataset that was looked through.

    Args:
        dataset: What was looked at.
        census: What the cases hold that could be read.
        findings: What was found, errors first.
    """

    dataset: Dataset
    census: Census
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What prevents an honest training."""
        return tuple(f for f in self.findings if f.kind == "error")


_Error = partial(Finding, "error")
_Warning = partial(Finding, "warning")


def check_dataset(dataset: Dataset, on_case: Callable[[str], None] | None = None) -> Checked:
    """Read all of a dataset and say what is wrong with it; no case stops the others.

    Args:
        dataset: The dataset.
        on_case: Is told the name of every case that was looked at.
    """
    found: dict[str, CaseCensus] = {}
    findings: list[Finding] = []
    hidden: dict[int, list[str]] = defaultdict(list)
    for case in dataset.cases:
        try:
            if case.labels is None:
                dataset.open_image(case).close()
            else:
                with dataset.open(case) as pair, telling(case.name):
                    found[case.name] = census_of(pair, dataset)
                    if pair.labels.hidden is not None:
                        hidden[pair.labels.hidden].append(case.name)
        except TiledsegError as error:
            findings.append(_Error(str(error), (case.name,)))
        if on_case is not None:
            on_case(case.name)
    census = Census(dataset.schema, found)
    findings += _unlike(census)
    findings += _of_classes(dataset, census)
    findings += _of_labels(dataset, census)
    findings += _of_hidden(dataset, hidden)
    findings += _of_images(census)
    findings += _of_splits(dataset)
    findings += _of_copies(dataset, census)
    findings.sort(key=lambda finding: finding.kind != "error")
    return Checked(dataset, census, tuple(findings))


def _unlike(census: Census) -> Iterator[Finding]:
    """Compare channels, axes, types and spacings of the images."""
    for text in ("axes", "channels"):
        kinds: dict[int, list[str]] = defaultdict(list)
        for name, case in census.cases.items():
            kinds[len(case.facts["shape" if text == "axes" else text])].append(name)
        if len(kinds) > 1:
            told = ", ".join(f"{n} in {len(names)} cases" for n, names in sorted(kinds.items()))
            fewest = min(kinds.values(), key=len)
            yield _Error(
                f"images must all have the same number of {text}, found {told} (such as "
                f"{fewest[0]}); choose channels or leave cases out",
                tuple(fewest),
            )
    dtypes = Counter(str(case.facts["dtype"]) for case in census.cases.values())
    if len(dtypes) > 1:
        told = ", ".join(f"{dtype} in {n}" for dtype, n in dtypes.most_common(_NAMED))
        yield _Warning(f"images are of several types ({told}): are their units the same?")
    flat = [c.facts["spacing"] for c in census.cases.values() if len(c.shape) == 2]
    if flat and np.max(flat) > _SCALES * np.min(flat):
        yield _Warning(
            f"samples are {np.min(flat):.4g} to {np.max(flat):.4g} wide: a network sees things at "
            "several scales unless the recipe names one spacing"
        )
    turned = Counter(c.facts["orientation"] for c in census.cases.values())
    if len(turned) > 1:
        told = ", ".join(f"{o} in {n}" for o, n in turned.most_common(_NAMED))
        yield _Warning(f"volumes are stored along several axes ({told}); name one in the recipe")


def _of_classes(dataset: Dataset, census: Census) -> Iterator[Finding]:
    """Say which classes are absent, rare, or known from one group only."""
    if not census.cases:
        yield _Error(
            f"dataset {dataset.name} must have labelled cases that can be read, found none of "
            f"{len(dataset)}; mend what is told of them"
        )
        return
    group_of = {c.name: c.group for c in dataset.cases}
    groups = defaultdict(set)
    for name, case in census.cases.items():
        for found in np.flatnonzero(case.totals):
            groups[int(found)].add(group_of[name])
    if len(groups) < 2:
        yield _Error(
            f"there must be samples of two classes or more, found {len(groups)}; check the legend"
        )
    everywhere = {group_of[name] for name in census.cases}
    for place, (c, share) in enumerate(zip(census.schema.unique, census.shares, strict=True)):
        if place not in groups:
            yield _Warning(f"class {c.name} has no sample; take it out, or label some")
        elif len(groups[place]) == 1 and len(everywhere) > 1:
            only = next(iter(groups[place]))
            yield _Warning(
                f"class {c.name} occurs in one group only ({only}): held out it cannot be learned, "
                "and learned it cannot be judged"
            )
        elif share < _RARE:
            yield _Warning(f"class {c.name} is rare: {share:.4%} of the labelled samples")


def _of_labels(dataset: Dataset, census: Census) -> Iterator[Finding]:
    """Say what the legend does not know, and what has no truth."""
    strange = Counter[str]()
    where: list[str] = []
    for name, case in census.cases.items():
        strange.update(case.strange)
        where += [name] if case.strange else []
    if strange:
        named = ", ".join(f"{mark}: {n}" for mark, n in strange.most_common(_NAMED))
        more = f" and {len(strange) - _NAMED} more values" if len(strange) > _NAMED else ""
        wrong = strange.total() > int(census.totals.sum())
        yield (_Error if wrong else _Warning)(
            f"labels hold what is no class and has no truth therefore ({named}{more}), in "
            f"{len(where)} cases (such as {where[0]}); add it to the legend, or to ignore",
            tuple(where),
        )
    bare = tuple(c.name for c in dataset.cases if c.labels is None and c.split != TEST)
    if bare:
        yield _Warning(f"{_cases(bare)} no labels, and will be left out", bare)
    empty = tuple(n for n, c in census.cases.items() if c.totals.sum() == 0)
    if empty:
        yield _Warning(f"{_cases(empty)} labels without any truth, and nothing to learn", empty)
    mostly = tuple(
        n
        for n, c in census.cases.items()
        if n not in empty and c.missing > _MOSTLY * (c.missing + int(c.totals.sum()))
    )
    if mostly:
        yield _Warning(f"{_cases(mostly)} truth in less than half of the samples", mostly)


def _of_hidden(dataset: Dataset, hidden: dict[int, list[str]]) -> Iterator[Finding]:
    """Say which classes have no truth because files declare their value as nodata."""
    names = {c.id: c.name for c in dataset.schema.unique}
    for label, cases in hidden.items():
        yield _Warning(
            f"labels of {len(cases)} case{'s' * (len(cases) > 1)} (such as {cases[0]}) declare "
            f"{label} as nodata, so that class {names[label]} has no truth there; if it is a class "
            "and not a gap, name all values in a legend",
            tuple(cases),
        )


def _of_images(census: Census) -> Iterator[Finding]:
    """Say where images hold little or nothing."""
    hollow = tuple(
        n for n, c in census.cases.items() if c.unmeasured > _MOSTLY * np.prod(c.shape, dtype=float)
    )
    if hollow:
        yield _Warning(f"{_cases(hollow)} nodata in more than half of the image", hollow)
    flat = tuple(
        n for n, c in census.cases.items() if n not in hollow and (c.moments.spread == 0).any()
    )
    if flat:
        yield _Warning(f"{_cases(flat)} a channel that is the same everywhere", flat)


def _of_splits(dataset: Dataset) -> Iterator[Finding]:
    """Say which groups are on two sides of the dataset's own splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in dataset.cases:
        splits[case.group].add(case.split or "train")
    for group, sides in sorted(splits.items()):
        if len(sides) > 1:
            members = tuple(c.name for c in dataset.cases if c.group == group)
            yield _Error(
                f"group {group} is in the splits {' and '.join(sorted(sides))}: figures would be "
                "too good; move all of it to one",
                members,
            )


def _of_copies(dataset: Dataset, census: Census) -> Iterator[Finding]:
    """Say which images have the very same samples."""
    case_of = {c.name: c for c in dataset.cases}
    same: dict[str, list[str]] = defaultdict(list)
    for name, case in census.cases.items():
        same[case.image_digest].append(name)
    for names in same.values():
        if len(names) > 1:
            yield _copies([case_of[n] for n in names], census)


def _copies(cases: list[Case], census: Census) -> Finding:
    names = tuple(c.name for c in cases)
    told = ", ".join(names[:_NAMED]) + ("" if len(names) <= _NAMED else ", ...")
    sides = sorted({c.split or "train" for c in cases})
    if len(sides) > 1:
        return _Error(
            f"{told} are the same image in the splits {' and '.join(sides)}: figures would be too "
            "good; leave one out",
            names,
        )
    labels = {census.cases[n].labels_digest for n in names}
    apart = len({c.group for c in cases}) > 1
    return _Warning(
        f"{told} are the same image"
        + (", labelled differently" if len(labels) > 1 else "")
        + (", in several groups: folds would separate them" if apart else "")
        + "; leave all but one out",
        names,
    )


def _cases(names: tuple[str, ...]) -> str:
    """Return how many cases there are, and the first, with a verb."""
    if len(names) == 1:
        return f"case {names[0]} has"
    return f"{len(names)} cases (such as {names[0]}) have"
