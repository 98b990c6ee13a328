"""preheat-finetune against the real PEFT and tokenizers: adapters that the program trains on a tiny model have the held-out loss
there that the program says, and the merged model has it in transformers.

    python finetune.py PREHEAT_FINETUNE GOLDEN TOKENIZER_JSON [argument of every training, instead of --threads 1...]

With --device cuda it is the program for a GPU that trains.
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
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()
torch.set_num_threads(1)

program, golden, tokenizer_json = (Path(argument).resolve() for argument in sys.argv[1:4])
work = Path(tempfile.mkdtemp(prefix="preheat-finetune-"))
machine = sys.argv[4:] or ["--threads", "1"]
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
                        "--steps", "20", "--merge", merged, *machine] + (["--out", out] if adapter else [])
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


# An encoder and its classes: the file of BertModel alone, whose names lack "bert.", so that the layer for classes is a new one.
def class_examples(numbers):
    words = ("a b a", "c d c d c", "e f")
    return [{"text": f"{words[i % 3]} {'abcdef'[i % 5]}", "label": ("first", "second", "third")[i % 3]} for i in numbers]


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]


def mean_class_loss(model, lines):
    """And the share of texts whose class is named."""
    names = sorted({line["label"] for line in lines})
    total, right = 0.0, 0
    for line in lines:
        ids = [VOCABULARY.index(word) for word in ["[CLS]", *line["text"].split(), "[SEP]"]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
        label = names.index(line["label"])
        total -= torch.log_softmax(logits, -1)[label].item()
        right += int(logits.argmax()) == label
    return total / len(lines), right / len(lines)


base = work / "bert"
base.mkdir()
shutil.copy(golden / "bert" / "a_plain" / "base" / "config.json", base)
save_file({name.removeprefix("bert."): tensor for name, tensor in
           load_file(golden / "bert" / "a_plain" / "base" / "model.safetensors").items() if not name.startswith("classifier.")},
          base / "model.safetensors", {"format": "pt"})
(base / "vocab.txt").write_text("".join(token + "\n" for token in VOCABULARY))
train, held = write("classes.jsonl", class_examples(range(24))), class_examples(range(24, 33))
held_file = write("held_classes.jsonl", held)
for method in ("lora", "pissa", "dora", "hrp", "full"):
    out, merged = work / f"bert-{method}", work / f"bert-{method}-merged"
    adapter = method != "full"
    subprocess.run([program, base, "--data", train, "--eval", held_file, "--method", method, "--rank", "3", "--rate", "1e-3",
                    "--steps", "20", "--merge", merged, *machine] + (["--out", out] if adapter else []),
                   check=True, stdout=(work / "stdout").open("w"))
    words = (work / "stdout").read_text()
    said, accuracy = (float(words.rsplit(f"held-out {what} ", 1)[1].split(" to ")[1].split(";")[0]) for what in ("loss", "accuracy"))
    if adapter:
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
        loss, share = mean_class_loss(PeftModel.from_pretrained(model, out).eval(), held)
        check(f"bert, {method}: held-out loss in PEFT", said, loss)
        check(f"bert, {method}: held-out accuracy in PEFT", accuracy, share)
    model = AutoModelForSequenceClassification.from_pretrained(merged, dtype=torch.float32).eval()
    check(f"bert, {method}: merged, in transformers", said, mean_class_loss(model, held)[0])
    if model.config.id2label != {0: "first", 1: "second", 2: "third"}:
        sys.exit(f"FAILED: bert, {method}: the merged model's classes are {model.config.id2label}")
shutil.rmtree(work)
