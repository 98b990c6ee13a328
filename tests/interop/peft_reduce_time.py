"""How long PEFT's own rank reduction takes: add_weighted_adapter with combination_type "svd", on one module of each shape
of Llama-7B at rank 128, extrapolated to its 224 modules. Processor seconds, so that a busy machine does not count.

    python peft_reduce_time.py
"""
import resource
import time

import torch
from peft import LoraConfig, get_peft_model

torch.set_num_threads(2)
shapes = {(4096, 4096): 128, (11008, 4096): 64, (4096, 11008): 32}  # how many modules have it
total = 0.0
for (rows, columns), count in shapes.items():
    model = torch.nn.Sequential(torch.nn.Linear(columns, rows, bias=False))
    model = get_peft_model(model, LoraConfig(r=128, target_modules=["0"]))
    torch.nn.init.normal_(model.base_model.model[0].lora_B["default"].weight, std=0.01)
    begun, used = time.monotonic(), time.process_time()
    model.add_weighted_adapter(["default", "default"], [0.5, 0.5], "small", combination_type="svd", svd_rank=16)
    seconds = time.process_time() - used
    total += count * seconds
    print(f"{rows}x{columns}: {seconds:.1f} processor seconds, {time.monotonic() - begun:.1f} s", flush=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"224 modules, extrapolated: {total:.0f} processor seconds ({total / 3600:.2f} h); peak memory so far {peak:.1f} GB")
