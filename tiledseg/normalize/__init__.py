"""Intensities to model units: a chain of small steps, the same for the whole image.

Statistics are never taken per tile. A step that needs the scene's statistics (`SceneRange`,
`SceneScore`) is *fitted* once to a stated sample of the whole image, or to all of it where it is to
be exact, and replaced by a plain `Linear` or `Clip`; `WholeImage` looks at every sample as nnU-Net
does, and becomes a `Standard`. Only fitted chains reach the engine and the plan.

Every step works on float32 samples, channels first, one sample at a time, so a sample's value does
not depend on what was read together with it. Steps take the module that computes, numpy unless the
samples lie on a device: `torch` has functions of the same names.
"""

from ._chain import AnyStep, Normalization, measured
from ._scene import How, SceneRange, SceneScore, SceneStep, WholeImage
from ._steps import Clip, Linear, Log, Nodata, Sigmoid, Standard

__all__ = [
    "AnyStep",
    "Clip",
    "How",
    "Linear",
    "Log",
    "Nodata",
    "Normalization",
    "SceneRange",
    "SceneScore",
    "SceneStep",
    "Sigmoid",
    "Standard",
    "WholeImage",
    "measured",
]
