"""Times of the Python package and of PEFT, one after the other, and their ratios: a start by PiSSA, and a lower rank.

    build/python-venv/bin/python bench/python/ratios.py [SIZE]      4096 unless given; PEFT takes minutes
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import preheat
import torch
from peft import LoraConfig, get_peft_model

size = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
torch.set_num_threads(1)


def network(seed=0):
    """One layer with singular values that fall as 1/√i, as those of trained weights do."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(size, size, bias=False)
    U, V = (torch.linalg.qr(torch.randn(size, 256)).Q for _ in range(2))
    layer.weight.data = (U / torch.arange(1, 257).sqrt()) @ V.T + torch.randn(size, size) / (20 * size**0.5)
    return torch.nn.Sequential(layer)


def timed(call):
    begun = time.process_time()
    result = call()
    return time.process_time() - begun, result


def row(what, ours, theirs, difference):
    print(f"{what} at {size}: preheat {ours:.3f} s, PEFT {theirs:.3f} s of the processor, ratio {theirs / ours:.1f}, "
          f"relative difference of s·B·A {difference:.1e}", flush=True)


def product(model, adapter="default"):
    return next(m for m in model.modules() if adapter in getattr(m, "lora_A", {})).get_delta_weight(adapter).detach()


config = dict(r=16, lora_alpha=32, target_modules=["0"])
model = get_peft_model(network(), LoraConfig(**config))
ours, _ = timed(lambda: preheat.init_lora(model, "pissa", threads=1))
theirs, other = timed(lambda: get_peft_model(network(), LoraConfig(**config, init_lora_weights="pissa")))
making, _ = timed(lambda: get_peft_model(network(), LoraConfig(**config)))
row("init_lora pissa, rank 16", ours, theirs - making, ((product(model) - product(other)).norm() / product(other).norm()).item())

model = get_peft_model(network(), LoraConfig(r=128, lora_alpha=256, target_modules=["0"], init_lora_weights=False))
# Twice a half, because PEFT does not take the SVD of one.
theirs, _ = timed(lambda: model.add_weighted_adapter(["default"] * 2, [0.5] * 2, "small", combination_type="svd", svd_rank=16))
expected = product(model, "small")
ours, _ = timed(lambda: preheat.reduce(model, rank=16, threads=1))
row("reduce, rank 128 to 16, of one layer", ours, theirs, ((product(model) - expected).norm() / expected.norm()).item())
