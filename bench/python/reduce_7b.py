"""preheat.reduce of a PeftModel with Llama-7B's 224 linear layers, rank 128 to 16, beside PEFT's own way, add_weighted_adapter with
svd: seconds of the processor on one thread. PEFT is measured on one layer of each of the three shapes, and counted as
often as the shape occurs; it takes minutes. The base weights hold no numbers, because neither way reads them.

    build/python-venv/bin/python bench/python/reduce_7b.py [--ours]
"""
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import preheat
import torch
from peft import LoraConfig, get_peft_model

torch.set_num_threads(1)
HIDDEN, INNER, BLOCKS, RANK, SMALL = 4096, 11008, 32, 128, 16
SHAPES = {"attention": (HIDDEN, HIDDEN, 4), "up": (INNER, HIDDEN, 2), "down": (HIDDEN, INNER, 1)}  # out, in, layers of a block


def adapted(blocks, per_block):
    """Layers with an adapter whose singular values fall nearly like 1/i."""
    layers = {}
    for block in range(blocks):
        for name, (rows, columns, count) in SHAPES.items():
            for i in range(count if per_block else 1):
                layer = torch.nn.Linear(1, 1, bias=False)
                layer.in_features, layer.out_features = columns, rows
                layer.weight = torch.nn.Parameter(torch.zeros(()).expand(rows, columns), requires_grad=False)
                layers[f"{name}{block}_{i}"] = layer
    model = get_peft_model(torch.nn.ModuleDict(layers), LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(layers),
                                                                   init_lora_weights=False))
    torch.manual_seed(0)
    falling = torch.arange(1, RANK + 1).rsqrt()
    for module in adapters(model):
        A, B = module.lora_A["default"].weight.data, module.lora_B["default"].weight.data
        A.copy_(torch.randn_like(A) * falling[:, None] / A.shape[1] ** 0.5)
        B.copy_(torch.randn_like(B) * falling / B.shape[0] ** 0.5)
    return model


def adapters(model):
    return [module for module in model.modules() if "default" in getattr(module, "lora_A", {})]


def timed(call):
    begun = time.process_time()
    call()
    return time.process_time() - begun


def ours():
    model = adapted(BLOCKS, True)
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = timed(lambda: preheat.reduce(model, rank=SMALL, threads=1))
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"preheat.reduce, {len(adapters(model))} layers, {numbers * 4 / 1e9:.2f} GB, rank {RANK} to {SMALL}: {seconds:.2f} s, peak memory "
          f"{more / 1024:.0f} MiB above the model's", flush=True)
    return seconds


def theirs(ours):
    total = 0.0
    for name, (rows, columns, count) in SHAPES.items():
        model = adapted(1, False)
        for module_name, _ in list(model.base_model.model.items()):
            if not module_name.startswith(name):
                del model.base_model.model[module_name]
        module, = adapters(model)
        # Twice a half, because PEFT does not take the SVD of one.
        seconds = timed(lambda: model.add_weighted_adapter(["default"] * 2, [0.5] * 2, "small", combination_type="svd", svd_rank=SMALL))
        expected = module.get_delta_weight("small").detach()
        preheat.reduce(model, rank=SMALL, threads=1)
        difference = (module.get_delta_weight("default").detach() - expected).norm() / expected.norm()
        total += seconds * count * BLOCKS
        print(f"PEFT, {rows}×{columns}, of which there are {count * BLOCKS}: {seconds:.1f} s a layer; relative difference of s·B·A "
              f"{difference:.1e}", flush=True)
    print(f"PEFT, all {BLOCKS * sum(count for *_, count in SHAPES.values())} layers: {total:.0f} s; ratio {total / ours:.0f}")


seconds = [ours() for _ in range(3)]
if "--ours" not in sys.argv:
    theirs(min(seconds))
