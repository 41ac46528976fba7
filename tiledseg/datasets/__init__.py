"""Training sets: images with labels, whatever they are written in, read box by box."""

from __future__ import annotations

from ._case import Case, Pair
from ._census import CaseCensus, Census, census_of, take_census
from ._dataset import Dataset
from ._labels import LabelSource
from ._legend import Legend
from ._read import DatasetDocument, read_dataset

__all__ = [
    "Case",
    "CaseCensus",
    "Census",
    "Dataset",
    "DatasetDocument",
    "LabelSource",
    "Legend",
    "Pair",
    "census_of",
    "read_dataset",
    "take_census",
]
