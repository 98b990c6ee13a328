"""preheat-finetune against the real PEFT and tokenizers: adapters that the program trains on a tiny model have the held-out loss
there that the program says, and the merged model has it in transformers.

    python finetune.py PREHEAT_FINETUNE GOLDEN TOKENIZER_JSON
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

try:
    import gguf
except ImportError:
    gguf = None
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()
torch.set_num_threads(1)

program, golden, tokenizer_json = (Path(argument).resolve() for argument in sys.argv[1:4])
work = Path(tempfile.mkdtemp(prefix="preheat-finetune-"))
END_OF_TEXT = 2  # of the fixtures' configs


def examples(numbers):
    return [{"prompt": f"the number {i}:", "completion": f" and then {i * i}"} for i in numbers]


def write(name, lines):
    (work / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work / name


def mean_loss(model, lines):
    """Over the tokens of the completions and the end of text."""
    words = Tokenizer.from_file(str(tokenizer_json))
    total, count = 0.0, 0
    for line in lines:
        prompt = words.encode(line["prompt"]).ids
        ids = prompt + words.encode(line["completion"]).ids + [END_OF_TEXT]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        chosen = torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]]
        total -= chosen[len(prompt) - 1:].sum().item()
        count += len(ids) - len(prompt)
    return total / count


def check(what, ours, theirs, bound=1e-4):
    if not abs(ours - theirs) <= bound * abs(theirs):
        sys.exit(f"FAILED: {what}: {ours} here, {theirs} there")
    print(f"ok  {what}: {ours:.6f} here, {theirs:.6f} there", flush=True)


def in_float(folder):
    """The model in float whatever its config says, as preheat-finetune computes it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def check_gguf(what, path, loaded):
    """llama.cpp's own reader finds the products s·B·A of PEFT's adapter in the GGUF adapter."""
    if gguf is None:
        print(f"--  {what}: the GGUF adapter is not compared, because Python has no package gguf", flush=True)
        return
    file = gguf.GGUFReader(path)
    tensors = {t.name: torch.tensor(t.data.reshape(tuple(reversed(t.shape.tolist()))).copy()).double() for t in file.tensors}
    alpha = float(file.get_field("adapter.lora.alpha").contents())
    norms = {}
    for name, A in tensors.items():
        if name.endswith(".lora_a"):
            B = tensors[name.removesuffix("a") + "b"]
            norms[name] = (alpha / A.shape[0] * B @ A).norm().item()
    theirs = [(layer.scaling["default"] * layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()).norm().item()
              for layer in loaded.modules() if hasattr(layer, "lora_A")]
    if len(norms) != len(theirs):
        sys.exit(f"FAILED: {what}: {len(norms)} modules in the GGUF adapter, {len(theirs)} in PEFT's")
    # Rows of Q and K are in another order there, which no norm knows.
    for ours, there in zip(sorted(norms.values()), sorted(theirs)):
        if not abs(ours - there) <= 1e-5 * max(theirs):
            sys.exit(f"FAILED: {what}: a product of norm {ours} in the GGUF adapter, {there} in PEFT's")
    print(f"ok  {what}: {len(norms)} products in the GGUF adapter, read by gguf", flush=True)


train, held = write("train.jsonl", examples(range(1, 33))), examples(range(33, 41))
held_file = write("held.jsonl", held)
for model in ("llama3", "qwen2", "gpt2"):
    base = work / model
    shutil.copytree(golden / "llama" / model / "base", base)
    base.chmod(0o755)
    shutil.copy(tokenizer_json, base / "tokenizer.json")
    for method in ("lora", "pissa", "dora", "hrp", "kasa"):
        out = work / f"{model}-{method}"
        merged = work / f"{model}-{method}-merged"
        adapter = method != "kasa"  # which leaves other weights
        plain = method != "dora"    # what a GGUF adapter can be
        subprocess.run([program, base, "--data", train, "--eval", held_file, "--method", method, "--rank", "3", "--rate", "1e-2",
                        "--steps", "20", "--threads", "1", "--merge", merged] + (["--out", out] if adapter else [])
                       + (["--gguf", out.with_suffix(".gguf")] if adapter and plain else []),
                       check=True, stdout=(work / "stdout").open("w"))
        said = float((work / "stdout").read_text().rsplit("held-out loss ", 1)[1].split(" to ")[1].split(";")[0])
        if adapter:
            loaded = PeftModel.from_pretrained(in_float(base), out).eval()
            check(f"{model}, {method}: held-out loss in PEFT", said, mean_loss(loaded, held))
            if plain:
                check_gguf(f"{model}, {method}", out.with_suffix(".gguf"), loaded)
        # A merged model is rounded to the dtype that the model's files have: bfloat16 has 8 bits.
        stored = {t.dtype for t in load_file(merged / "model.safetensors").values()}
        check(f"{model}, {method}: merged, in transformers", said, mean_loss(in_float(merged), held),
              1e-4 if stored == {torch.float32} else 2e-2)
shutil.rmtree(work)
