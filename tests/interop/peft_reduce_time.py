"""How long PEFT's own rank reduction takes: add_weighted_adapter with combination_type "svd" on one module of Llama-7B
(4096x4096) at rank 128. It forms the product and takes a dense SVD of it, so the time of the other shapes is
extrapolated by out·in·min(out, in). Processor seconds, so that a busy machine does not count.

    build/peft-venv/bin/python tests/interop/peft_reduce_time.py
"""
import time

import torch
from peft import LoraConfig, get_peft_model

width, hidden = 4096, 11008
model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(width, width, bias=False)), LoraConfig(r=128, target_modules=["0"]))
torch.nn.init.normal_(model.base_model.model[0].lora_B["default"].weight, std=0.01)
begun, used = time.monotonic(), time.process_time()
model.add_weighted_adapter(["default", "default"], [0.5, 0.5], "small", combination_type="svd", svd_rank=16)
seconds = time.process_time() - used
print(f"{width}x{width}: {seconds:.1f} processor seconds, {time.monotonic() - begun:.1f} s of the clock")
all_modules = seconds * (128 + 96 * hidden / width)
print(f"224 modules, extrapolated: {all_modules:.0f} processor seconds, {all_modules / 3600:.1f} hours")
