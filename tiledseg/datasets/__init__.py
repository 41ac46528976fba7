"""Training sets: images with labels, whatever they are written in, read box by box."""

from __future__ import annotations

from ._burnt import POLYGON_FILES, BurntLabels, MarkedPolygons
from ._case import VALIDATION, Case, Pair
from ._census import CaseCensus, Census
from ._check import Checked, Finding, check_dataset
from ._counting import census_of, take_census
from ._dataset import Dataset
from ._labels import LabelSource
from ._legend import Legend, plain_mark
from ._read import DatasetDocument, read_dataset
from ._split import Split, cut_blocks, given_split, split_folds
from ._table import match_files

__all__ = [
    "POLYGON_FILES",
    "VALIDATION",
    "BurntLabels",
    "Case",
    "CaseCensus",
    "Census",
    "Checked",
    "Dataset",
    "DatasetDocument",
    "Finding",
    "LabelSource",
    "Legend",
    "MarkedPolygons",
    "Pair",
    "Split",
    "census_of",
    "check_dataset",
    "cut_blocks",
    "given_split",
    "match_files",
    "plain_mark",
    "read_dataset",
    "split_folds",
    "take_census",
]
