"""Time and error of `preheat-adapter extract` beside the dense SVD of every difference, which is what mergekit's LoRA
extraction computes (torch.linalg.svd of W' - W in float32, truncated). mergekit itself is not run.

    dense_extract_time.py PREHEAT_ADAPTER FOLDER

writes a pair of models of 16 matrices 2048x2048 in float32 (0.54 GB) into FOLDER, and removes them. A change is
a part of rank 16 with falling singular values, plus noise of a tenth of its norm in all directions."""
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, safe_open, save_file

program, folder = sys.argv[1], Path(sys.argv[2])
layers, size, rank = 16, 2048, 16
torch.manual_seed(0)
torch.set_num_threads(int(os.environ.get("THREADS", "1")))
folder.mkdir(parents=True)
base, tuned = {}, {}
for i in range(layers):
    W = torch.randn(size, size) / size**0.5
    change = torch.randn(size, rank) / torch.arange(1, rank + 1) @ torch.randn(rank, size)
    noise = torch.randn(size, size)
    change = 0.01 * (change / change.norm() + 0.1 * noise / noise.norm()) * W.norm()
    name = f"model.layers.{i}.self_attn.q_proj.weight"
    base[name], tuned[name] = W, W + change
save_file(base, folder / "base.safetensors")
save_file(tuned, folder / "tuned.safetensors")
del base, tuned

begun = time.perf_counter()
squares = [0.0, 0.0]
with safe_open(folder / "base.safetensors", "pt") as b, safe_open(folder / "tuned.safetensors", "pt") as t:
    for name in b.keys():
        D = t.get_tensor(name) - b.get_tensor(name)
        U, S, Vh = torch.linalg.svd(D, full_matrices=False)
        B, A = U[:, :rank] * S[:rank], Vh[:rank]
        squares[0] += (D - B @ A).norm().item() ** 2
        squares[1] += D.norm().item() ** 2
dense = time.perf_counter() - begun
print(f"dense SVD (torch {torch.__version__}): {dense:.1f} s, error {(squares[0] / squares[1]) ** 0.5:.5f}", flush=True)

begun = time.perf_counter()
done = subprocess.run(["/usr/bin/time", "-f", "%M", program, "extract", folder / "tuned.safetensors", "--base",
                       folder / "base.safetensors", "--rank", str(rank), "--threads", str(torch.get_num_threads()),
                       "--out", folder / "lora"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
ours = time.perf_counter() - begun
peak = int(done.stderr.split()[-1]) / 1e3
lora = load_file(folder / "lora" / "adapter_model.safetensors")
squares = [0.0, 0.0]
with safe_open(folder / "base.safetensors", "pt") as b, safe_open(folder / "tuned.safetensors", "pt") as t:
    for name in b.keys():
        D = t.get_tensor(name) - b.get_tensor(name)
        module = "base_model.model." + name.removesuffix("weight")
        squares[0] += (D - lora[module + "lora_B.weight"] @ lora[module + "lora_A.weight"]).norm().item() ** 2
        squares[1] += D.norm().item() ** 2
print(f"preheat-adapter extract: {ours:.1f} s, error {(squares[0] / squares[1]) ** 0.5:.5f}, {peak:.0f} MB at most; "
      f"{dense / ours:.0f} times as fast")
shutil.rmtree(folder)
