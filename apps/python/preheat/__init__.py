"""LoRA adapters for Hugging Face PEFT: starts, high-rank preheating, resizing, merging, conversion, spectra.

Work on a PeftModel is done on its tensors in place: float32 tensors on the CPU are read where they lie, other types are
converted once. Work on folders is a command of preheat-adapter. An error is a ValueError with the library's text.
Shapes are those of PEFT: W (out, in), A (r, in), B (out, r); the adapted weight is W + s·B·A.
"""
from ._preheat import __version__
from .files import Inspection, convert, extract, inspect, merge
from .models import hrp, hrp_, init_lora, reduce

__all__ = ["Inspection", "convert", "extract", "hrp", "hrp_", "init_lora", "inspect", "merge", "reduce", "__version__"]
