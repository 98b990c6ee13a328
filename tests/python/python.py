"""The Python package with the real PEFT, on one tiny BERT, and the example of docs/python.md.

    python python.py GOLDEN PAGE
"""
import os
import re
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import preheat
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()
torch.set_num_threads(2)
golden, page = (Path(argument).resolve() for argument in sys.argv[1:3])
base_folder = golden / "bert" / "a_plain" / "base"
work = Path(tempfile.mkdtemp(prefix="preheat-python-"))
checks = 0


def check(what, holds, note=""):
    global checks
    checks += 1
    if not holds:
        sys.exit(f"FAILED: {what} {note}")
    print(f"ok  {what} {note}", flush=True)


def close(what, ours, theirs, rtol):
    difference = (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), 1e-30)
    check(what, difference <= rtol, f"({difference:.1e})")


def refused(what, text, call):
    try:
        call()
    except ValueError as error:
        check(f"{what}: a ValueError that says so", text in str(error), f"({error})")
        return
    check(f"{what}: a ValueError", False)


def base_model():
    return AutoModelForSequenceClassification.from_pretrained(base_folder).eval()


def adapted(seed=0, **settings):
    torch.manual_seed(seed)
    return get_peft_model(base_model(), LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], **settings})).eval()


ids = torch.arange(5, 41).reshape(3, 12)


def logits(model):
    with torch.no_grad():
        return model(input_ids=ids).logits


def one_step(model, optimizer):
    loss = model(input_ids=ids, labels=ids[:, 0] % 2).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train(model, steps=5):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    return [one_step(model, optimizer) for _ in range(steps)]


def products(model, adapter="default"):
    return {name: m.get_delta_weight(adapter).detach() for name, m in model.named_modules() if adapter in getattr(m, "lora_A", {})}


# ---------------------------------------------------------------- HRP
model = adapted()
before = logits(base_model())
frozen = {name: p.clone() for name, p in model.named_parameters() if "lora_" not in name}
trained = [name for name, p in model.named_parameters() if p.requires_grad]
check("hrp_ returns the model", preheat.hrp_(model, one_step, steps=3, lr=0.1) is model)
close("hrp_: the output is the base's", logits(model), before, 0)
check("hrp_: only one adapter is left", list(model.peft_config) == ["default"])
check("hrp_: the same parameters are trained", trained == [name for name, p in model.named_parameters() if p.requires_grad])
A = model.base_model.model.bert.encoder.layer[0].attention.self.query.lora_A["default"].weight
close("hrp_: A has orthonormal rows", A @ A.T, torch.eye(4), 1e-5)
losses = train(model, 8)
check("hrp_: PEFT trains on", losses[-1] < losses[0], f"({losses[0]:.4f} to {losses[-1]:.4f})")
check("hrp_: only the adapter moves", all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen))

warm = adapted(r=16)
train(warm)
warm.save_pretrained(work / "warm")
start = preheat.hrp(adapted(1), preheated=warm)
close("hrp: the output is the base's", logits(start), before, 0)
name, delta = next(iter(products(warm).items()))
A = start.get_submodule(name).lora_A["default"].weight
V = torch.linalg.svd(delta.double()).Vh[:4]
close("hrp: A spans the main right singular vectors", (V.float() @ A.T).abs().square().sum(), torch.tensor(4.0), 1e-4)
report = preheat.hrp(preheated=work / "warm", rank=4, out=work / "start")
check("hrp between folders: the report", report["command"] == "hrp" and "rank" in report["text"])
folder = adapted(1)
preheat.hrp(folder, preheated=work / "warm")
close("hrp from a folder: as from a model", folder.get_submodule(name).lora_A["default"].weight, A, 1e-4)

# ---------------------------------------------------------------- starts
for kind in ("pissa", "olora"):
    theirs = adapted(init_lora_weights=kind)
    ours = preheat.init_lora(adapted(), kind)
    for (name, a), b in zip(products(ours).items(), products(theirs).values()):
        close(f"init_lora {kind}: s·B·A is PEFT's, {name[-24:]}", a, b, 1e-4)
    W = ours.get_submodule(name).get_base_layer().weight
    close(f"init_lora {kind}: so is the residual base", W, theirs.get_submodule(name).get_base_layer().weight, 1e-4)
    close(f"init_lora {kind}: the output stays", logits(ours), before, 1e-4)
for kind in ("milora", "orthogonal", "pissa_randomized"):
    close(f"init_lora {kind}: the output stays", logits(preheat.init_lora(adapted(), kind)), before, 1e-4)
ga = preheat.init_lora(adapted(), "lora_ga", loss=lambda m: m(input_ids=ids, labels=ids[:, 0] % 2).loss)
close("init_lora lora_ga: the output stays", logits(ga), before, 1e-3)
losses = train(ga)
check("init_lora lora_ga: it trains", losses[-1] < losses[0])
pointer = W.data_ptr()
check("init_lora works on the base where it lies", preheat.init_lora(ours, "pissa").get_submodule(name).get_base_layer().weight.data_ptr() == pointer)
refused("an unknown start", "is none of pissa", lambda: preheat.init_lora(adapted(), "pisa"))
refused("a rank above the layer's", "rank", lambda: preheat.init_lora(adapted(r=100), "pissa"))

# ---------------------------------------------------------------- reduce
small = preheat.reduce(adapted(), energy=1.0)
close("reduce of a zero product", logits(small), before, 1e-5)
expected = logits(warm)
full = preheat.reduce(PeftModel.from_pretrained(base_model(), work / "warm").eval(), ratio=1e6)
close("reduce to all its rank: the output stays", logits(full), expected, 1e-5)
preheat.reduce(work / "warm", rank=3, out=work / "three")
model = preheat.reduce(PeftModel.from_pretrained(base_model(), work / "warm").eval(), rank=3)
close("reduce: a model as its folder", logits(model), logits(PeftModel.from_pretrained(base_model(), work / "three").eval()), 1e-5)
model.save_pretrained(work / "saved")
close("reduce: saved and loaded by PEFT", logits(PeftModel.from_pretrained(base_model(), work / "saved").eval()), logits(model), 1e-5)
few = preheat.reduce(PeftModel.from_pretrained(base_model(), work / "warm").eval(), energy=0.6)
few.save_pretrained(work / "few")
close("reduce: ranks per layer too", logits(PeftModel.from_pretrained(base_model(), work / "few").eval()), logits(few), 1e-5)
refused("reduce without a rank", "no rank", lambda: preheat.reduce(adapted()))

# ---------------------------------------------------------------- folders
preheat.merge(work / "warm", base_folder, out=work / "merged")
close("merge", logits(AutoModelForSequenceClassification.from_pretrained(work / "merged").eval()), expected, 1e-5)
preheat.extract(work / "merged", base_folder, rank=16, targets=".*(query|value)", out=work / "extracted")
close("extract takes it back out", logits(PeftModel.from_pretrained(base_model(), work / "extracted").eval()), expected, 1e-3)
plain = preheat.init_lora(adapted(), "pissa")
plain.save_pretrained(work / "pissa-0")
train(plain)
preheat.convert(plain, initial=work / "pissa-0", out=work / "plain")
close("convert: plain LoRA on the original base", logits(PeftModel.from_pretrained(base_model(), work / "plain").eval()), logits(plain), 1e-4)
seen = preheat.inspect(warm)
check("inspect: a layer a module, and a table", len(seen.layers) == len(products(warm)) and "effective rank" in str(seen))
close("inspect: the spectrum", torch.tensor(next(iter(seen.spectra().values()))), torch.linalg.svdvals(delta)[:16], 1e-4)
refused("a folder that is not there", "nowhere", lambda: preheat.inspect(work / "nowhere"))
refused("merge onto what exists", "exists", lambda: preheat.merge(work / "warm", base_folder, out=work / "merged"))

# ---------------------------------------------------------------- the interpreter's lock, and threads
ticks, done = [0], threading.Event()


def count():
    while not done.is_set():
        ticks[0] += 1
        time.sleep(0.001)


big = get_peft_model(torch.nn.Sequential(torch.nn.Linear(700, 700)), LoraConfig(r=4, target_modules=["0"]))
counter = threading.Thread(target=count)
counter.start()
first = ticks[0]
preheat.init_lora(big, "milora")
check("the interpreter runs on meanwhile", ticks[0] > first + 3, f"({ticks[0] - first} ticks)")
done.set()
counter.join()
one, two = (preheat.hrp(adapted(1), preheated=warm, threads=n).get_submodule(name).lora_A["default"].weight for n in (1, 2))
check("the same bits with any number of threads", torch.equal(one, two))
refused("no thread", "threads", lambda: preheat.hrp(adapted(1), preheated=warm, threads=0))

# ---------------------------------------------------------------- the example of docs/python.md
os.chdir(work)
os.environ["MODEL"] = str(base_folder)
blocks = re.findall(r"```python\n(.*?)```", page.read_text().split("<!-- example -->")[1].split("<!-- end -->")[0], re.S)
session = {}
for block in blocks:
    exec(block, session)
check("docs/python.md: its example runs", (work / "tuned" / "adapter_config.json").exists(), f"({len(blocks)} cells)")
print(f"python: {checks} tests passed, 0 failed")
