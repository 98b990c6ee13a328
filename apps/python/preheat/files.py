"""Work on folders and files: each function is the command of preheat-adapter of the same name."""
from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Sequence, Union

from . import _preheat

PathLike = Union[str, "os.PathLike[str]"]
Adapter = Union[PathLike, Any]  # a folder or file, or a PeftModel, whose active adapter is taken


def thread_count(threads: int | None) -> int:
    """The number asked for; else PyTorch's, if the program has it; else that of the processors."""
    if threads is not None:
        return threads
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else os.cpu_count() or 1


@contextmanager
def folder_of(adapter: Adapter) -> Iterator[Path]:
    """The path of an adapter; a PeftModel is saved into a temporary folder."""
    if isinstance(adapter, (str, os.PathLike)):
        yield Path(adapter)
        return
    if not hasattr(adapter, "peft_config"):
        raise ValueError(f"an adapter is a path or a PeftModel, not {type(adapter).__name__}")
    name = adapter.active_adapter
    with tempfile.TemporaryDirectory(prefix="preheat-") as folder:
        adapter.save_pretrained(folder, selected_adapters=[name])
        yield Path(folder) if name == "default" else Path(folder) / name


def run(name: str, *arguments: Any, threads: int | None = None, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Runs a command. Its report, with what it prints as "text". Options that are None or False are left out."""
    words = [name, *map(str, arguments)]
    for option, value in options.items():
        flag = "--" + option.replace("_", "-")
        if value is None or value is False:
            continue
        words.append(flag)
        if isinstance(value, (list, tuple)):
            words += map(str, value)
        elif value is not True:
            words.append(str(value))
    with tempfile.TemporaryDirectory(prefix="preheat-") as folder:
        report = Path(folder) / "report.json"
        words += ["--threads", str(thread_count(threads)), "--seed", str(seed), "--json", str(report)]
        text = _preheat.command(words)
        return {**json.loads(report.read_text()), "text": text}


def extract(tuned: PathLike, base: PathLike, rank: int | None = None, *, out: PathLike, energy: float | None = None,
            targets: str | None = None, dtype: str | None = None, norms: bool = False, biases: bool = False,
            embeddings: bool = False, threads: int | None = None) -> dict[str, Any]:
    """The LoRA of a full fine-tune: for every matrix the best B·A of `rank`, or of the least rank that keeps `energy` of
    ‖W_tuned − W_base‖², written as a PEFT folder `out`. `tuned` and `base` are safetensors files, indexes or folders.
    Source: the truncated SVD (Eckart and Young 1936). Returns the report."""
    return run("extract", tuned, base=base, rank=rank, energy=energy, targets=targets, dtype=dtype, norms=norms,
               biases=biases, embeddings=embeddings, out=out, threads=threads)


def merge(adapters: Adapter | Sequence[PathLike], base: PathLike, *, out: PathLike, weights: Sequence[float] | None = None,
          dtype: str | None = None, threads: int | None = None) -> dict[str, Any]:
    """The base with adapters in it, W + Σ w·s·B·A, as a file or a model's folder `out`. Returns the report."""
    if isinstance(adapters, (list, tuple)):
        return run("merge", *adapters, base=base, weights=weights, dtype=dtype, out=out, threads=threads)
    with folder_of(adapters) as folder:
        return run("merge", folder, base=base, weights=weights, dtype=dtype, out=out, threads=threads)


def convert(adapter: Adapter, *, out: PathLike, initial: Adapter | None = None, to: str | None = None,
            base: PathLike | None = None, rank: int | None = None, dtype: str | None = None,
            threads: int | None = None) -> dict[str, Any]:
    """An adapter on a residual base (PiSSA, OLoRA, …) as plain LoRA on the original one, with the adapter before training as
    `initial`: s·(B·A − B₀·A₀) exactly, of rank 2r; or any adapter in the format `to`: "peft", "kohya", "diffusers", "comfy",
    "gguf". Written as `out`. Returns the report."""
    with folder_of(adapter) as folder:
        if initial is None:
            return run("convert", folder, to=to, base=base, rank=rank, dtype=dtype, out=out, threads=threads)
        with folder_of(initial) as before:
            return run("convert", folder, initial=before, to=to, base=base, rank=rank, dtype=dtype, out=out, threads=threads)


@dataclass
class Inspection:
    """What `inspect` found: `layers` has a dict for every module, `print(inspection)` the table."""
    text: str
    layers: list[dict[str, Any]] = field(repr=False)

    def __str__(self) -> str:
        return self.text

    def spectra(self) -> dict[str, list[float]]:
        """The singular values of s·B·A of every module, the largest first."""
        return {layer["module"]: layer["singular_values"] for layer in self.layers}

    def frame(self) -> Any:
        """A pandas.DataFrame with a row for every module."""
        import pandas

        return pandas.json_normalize(self.layers).set_index("module")


def inspect(adapter: Adapter, other: Adapter | None = None, *, plot: PathLike | None = None,
            threads: int | None = None) -> Inspection:
    """Norm, spectrum, effective rank (Roy and Vetterli, EUSIPCO 2007) and kept energy of every layer; of two adapters the
    overlap of their subspaces (Hu et al., arXiv 2106.09685, section 7.2)."""
    with folder_of(adapter) as folder:
        if other is None:
            report = run("inspect", folder, plot=plot, threads=threads)
        else:
            with folder_of(other) as second:
                report = run("inspect", folder, second, plot=plot, threads=threads)
    return Inspection(report["text"], report["layers"])
