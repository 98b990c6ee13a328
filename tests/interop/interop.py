"""The real PEFT against preheat-adapter and peft::save on one tiny BERT: folders that one writes, the other reads, to
the same logits.

    python interop.py PREHEAT_ADAPTER FIT_AND_SAVE GOLDEN RECIPE
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from peft import LoraConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

import parity

transformers_logging.disable_progress_bar()
torch.set_num_threads(2)

program, fit_and_save, golden, recipe = (Path(argument).resolve() for argument in sys.argv[1:5])
work = Path(tempfile.mkdtemp(prefix="preheat-interop-"))
checks = 0


def run(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"preheat-adapter {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def fails(*arguments):
    """The error of a command that is refused."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 2:
        sys.exit(f"preheat-adapter {' '.join(map(str, arguments))}\nexit {done.returncode}, a refusal expected\n{done.stdout}")
    return done.stderr


def check(what, holds, note=""):
    global checks
    checks += 1
    if not holds:
        sys.exit(f"FAILED: {what} {note}")
    print(f"ok  {what} {note}", flush=True)


def same(what, ours, theirs, rtol=1e-5):
    difference = (ours - theirs).abs().max().item() / max(theirs.abs().max().item(), 1e-30)
    check(what, difference <= rtol, f"({difference:.1e})")


def base_model(case="a_plain", path=None):
    return AutoModelForSequenceClassification.from_pretrained(path or golden / "bert" / case / "base").eval()


def stored(case):
    io = load_file(golden / "bert" / case / "io.safetensors")
    ids = {k: io[k].long() for k in ("input_ids", "attention_mask", "token_type_ids")}
    return ids, io["logits_adapter"]


def logits(model, ids):
    with torch.no_grad():
        return model(**ids).logits


def load(folder, case="a_plain", base=None):
    return PeftModel.from_pretrained(base_model(case, base), folder).eval()


def merged_model(adapter, case="a_plain"):
    """The base with `merge`'s weights, as a transformers folder."""
    folder = Path(tempfile.mkdtemp(dir=work))
    shutil.copy(golden / "bert" / case / "base" / "config.json", folder)
    run("merge", adapter, "--base", golden / "bert" / case / "base", "--out", folder / "model.safetensors")
    return base_model(path=folder)


def train(model, steps, lr=1e-2, seed=0):
    """A few steps on sentences of random words whose label is the parity of the first; losses."""
    torch.manual_seed(seed)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    ids = torch.randint(5, 1000, (32, 12))
    losses = []
    for _ in range(steps):
        loss = model(input_ids=ids, labels=ids[:, 0] % 2).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


# ---------------------------------------------------------------- folders that PEFT wrote, rewritten by us
for case in ("a_plain", "b_patterns", "c_dora"):
    ids, expected = stored(case)
    adapter = golden / "bert" / case / "adapter"
    same(f"{case}: PEFT alone", logits(load(adapter, case), ids).double(), expected)
    run("reduce", adapter, "--energy", 1, "--out", work / f"{case}-all")
    same(f"{case}: reduced to all its rank", logits(load(work / f"{case}-all", case), ids).double(), expected)
    same(f"{case}: merged", logits(merged_model(adapter, case), ids).double(), expected)

ids, _ = stored("a_plain")

# ---------------------------------------------------------------- other kinds of folders
kinds = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["query", "value"]),
    "rsLoRA, alpha not a multiple": dict(r=5, lora_alpha=7, use_rslora=True, target_modules=["query", "value"]),
    "embedding": dict(r=3, target_modules=["word_embeddings", "query"]),
    "every linear layer": dict(r=4, target_modules="all-linear", task_type="SEQ_CLS"),
    "a regular expression": dict(r=4, target_modules=r".*layer\.1\..*(query|dense)"),
    "lora_bias": dict(r=4, target_modules=["query"], lora_bias=True),
    "DoRA": dict(r=4, target_modules=["query", "dense"], use_dora=True),
    "patterns": dict(r=4, target_modules=["query", "value"], rank_pattern={"layer.0.attention.self.query": 7},
                     alpha_pattern={"value": 3}, modules_to_save=["classifier"]),
    "bias all": dict(r=4, target_modules=["query"], bias="all"),
}
for name, settings in kinds.items():
    folder = work / re.sub(r"\W+", "-", name)
    torch.manual_seed(1)
    model = get_peft_model(base_model(), LoraConfig(**settings))
    train(model, 3)
    model.save_pretrained(folder)
    expected = logits(model, ids)
    check(f"{name}: training moved the logits", (expected - logits(base_model(), ids)).abs().max() > 1e-3)
    same(f"{name}: merged by us", logits(merged_model(folder), ids), expected)
    run("reduce", folder, "--ratio", 1e6, "--out", str(folder) + "-all")
    same(f"{name}: rewritten by us", logits(load(str(folder) + "-all"), ids), expected)

folder = work / "a-regular-expression"
run("reduce", folder, "--rank", 2, "--out", work / "two")
model = load(folder)
model.add_weighted_adapter(["default", "default"], [0.5, 0.5], "theirs", combination_type="svd", svd_rank=2)
model.set_adapter("theirs")
same("reduce --rank 2 is PEFT's svd", logits(load(work / "two"), ids), logits(model, ids))

run("reduce", work / "rsLoRA-alpha-not-a-multiple", work / "plain", "--weights", 0.5, -1, "--type", "cat",
    "--out", work / "sum")
one = load(work / "rsLoRA-alpha-not-a-multiple").merge_and_unload().state_dict()
two = load(work / "plain").merge_and_unload().state_dict()
sum_of = load(work / "sum").merge_and_unload().state_dict()
base = base_model().state_dict()
name = "bert.encoder.layer.0.attention.self.value.weight"
same("a weighted sum of two", sum_of[name] - base[name], 0.5 * (one[name] - base[name]) - (two[name] - base[name]))

# ---------------------------------------------------------------- HRP between two runs
torch.manual_seed(2)
warm = get_peft_model(base_model(), LoraConfig(r=16, lora_alpha=32, target_modules=["query", "value", "dense"]))
warm.save_pretrained(work / "before")
train(warm, 5)
warm.save_pretrained(work / "warm")
for arguments in ([], ["--initial", work / "before"], ["--side", "left"]):
    start = work / f"start{len(arguments)}{arguments[-1] if arguments[:1] == ['--side'] else ''}"
    run("hrp", work / "warm", "--rank", 2, "--out", start, *arguments)
    model = PeftModel.from_pretrained(base_model(), start, is_trainable=True).eval()
    label = "hrp " + " ".join(str(a).replace(str(work) + "/", "") for a in arguments)
    same(f"{label}: the base's logits at the start", logits(model, ids), logits(base_model(), ids), 0)
    check(f"{label}: the scale is kept", set(m.scaling["default"] for m in model.modules() if isinstance(getattr(m, "scaling", None), dict)) == {2.0})
    losses = train(model, 5)
    check(f"{label}: it trains", losses[-1] < losses[0], f"({losses[0]:.4f} to {losses[-1]:.4f})")
    frozen = base_model().state_dict()
    moved = [n for n, p in model.named_parameters() if "lora_" not in n
             and not torch.equal(p, frozen[n.replace("base_model.model.", "").replace(".base_layer", "")])]
    check(f"{label}: only the adapter moved", not moved, str(moved[:2]))

# ---------------------------------------------------------------- residual bases
for init in ("pissa", "olora"):
    torch.manual_seed(3)
    model = get_peft_model(base_model(), LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=init))
    model.save_pretrained(work / f"{init}-0")
    train(model, 3)
    model.save_pretrained(work / f"{init}-1")
    run("convert", work / f"{init}-1", "--initial", work / f"{init}-0", "--out", work / f"{init}-plain")
    same(f"{init}: converted to plain LoRA", logits(load(work / f"{init}-plain"), ids), logits(model, ids))

    start = ["init", init, "--base", golden / "bert/a_plain/base", "--rank", 4, "--alpha", 8, "--targets", ".*(query|value)"]
    run(*start, "--out", work / f"{init}-ours")
    same(f"{init}: our start, PEFT takes the product out", logits(load(work / f"{init}-ours"), ids), logits(base_model(), ids))
    residual = work / f"{init}-base"
    residual.mkdir()
    shutil.copy(golden / "bert/a_plain/base/config.json", residual)
    run(*start, "--out", work / f"{init}-plain-start", "--residual", residual / "model.safetensors")
    same(f"{init}: our start on our residual base", logits(load(work / f"{init}-plain-start", base=residual), ids),
         logits(base_model(), ids))

# ---------------------------------------------------------------- a case a kind of fault or wish
import kinds

kinds.check_all(sys.modules[__name__])

# ---------------------------------------------------------------- trained by fit, saved by peft::save
trained = work / "trained"
bert = golden / "bert/a_plain"
done = subprocess.run([fit_and_save, bert / "base", bert / "io.safetensors", trained], capture_output=True, text=True)
if done.returncode != 0:
    sys.exit(f"fit_and_save\n{done.stderr}")
cases = sorted(folder.name for folder in trained.iterdir())
check("fit: twelve cases", len(cases) == 12, str(cases))
for name in cases:
    folder = trained / name
    base = None
    if (folder / "base").exists():  # the run changed the base, and saved it
        base = folder / "base"
        shutil.copy(bert / "base/config.json", base)
    expected = load_file(folder / "logits.safetensors")["logits"]
    check(f"fit, {name}: training moved the logits", (expected - logits(base_model(), ids)).abs().max() > 1e-2)
    model = load(folder / "adapter", base=base)
    same(f"fit, {name}: the same logits in PEFT", logits(model, ids), expected)
    same(f"fit, {name}: and merged by it", logits(model.merge_and_unload(), ids), expected)
    model = PeftModel.from_pretrained(base_model(path=base), folder / "adapter", is_trainable=True)
    losses = train(model, 3)
    check(f"fit, {name}: PEFT trains on", losses[-1] < losses[0], f"({losses[0]:.4f} to {losses[-1]:.4f})")

# A VeRA folder that PEFT trained and wrote, read by peft::load; preheat-adapter refuses it by its name.
torch.manual_seed(4)
model = get_peft_model(base_model(), VeraConfig(r=24, d_initial=0.2, target_modules=["query", "dense"], task_type="SEQ_CLS"))
train(model, 5)
folder = work / "vera"
model.save_pretrained(folder / "theirs")
done = subprocess.run([fit_and_save, "vera", bert / "base", bert / "io.safetensors", folder], capture_output=True, text=True)
check("VeRA of PEFT: read by peft::load", done.returncode == 0, done.stderr)
expected = logits(model, ids)
check("VeRA of PEFT: training moved the logits", (expected - logits(base_model(), ids)).abs().max() > 1e-3)
same("VeRA of PEFT: the same logits here", load_file(folder / "logits.safetensors")["logits"], expected)
check("VeRA of PEFT: inspect says what it is", 'peft_type is "VERA"' in fails("inspect", folder / "theirs"))

# ---------------------------------------------------------------- language models
trained = work / "decoders"
done = subprocess.run([fit_and_save, "decoders", golden / "llama", trained], capture_output=True, text=True)
if done.returncode != 0:
    sys.exit(f"fit_and_save decoders\n{done.stderr}")
cases = sorted(folder.name for folder in trained.iterdir())
check("decoders: every model, two of them with DoRA", len(cases) == len(list((golden / "llama").iterdir())) + 2, str(cases))
text = torch.arange(3, 15).unsqueeze(0)
for name in cases:
    folder = trained / name
    base = lambda: AutoModelForCausalLM.from_pretrained(golden / "llama" / name.removesuffix("_dora") / "base",
                                                        dtype=torch.float32).eval()
    expected = load_file(folder / "logits.safetensors")["logits"]
    with torch.no_grad():
        check(f"decoder {name}: training moved the logits", (expected - base()(text).logits[0]).abs().max() > 1e-2)
        model = PeftModel.from_pretrained(base(), folder / "adapter").eval()
        same(f"decoder {name}: the same logits in PEFT", model(text).logits[0], expected)
        greedy = model.generate(input_ids=text[:, :4], max_new_tokens=25, do_sample=False, eos_token_id=2)[0, 4:]
        check(f"decoder {name}: the same greedy tokens", greedy.tolist() == load_file(folder / "logits.safetensors")["greedy"].long().tolist())
        same(f"decoder {name}: and merged by it", model.merge_and_unload()(text).logits[0], expected, 5e-5)
    model = PeftModel.from_pretrained(base(), folder / "adapter", is_trainable=True)
    before = model(input_ids=text, labels=text).loss
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before.backward()
    optimizer.step()
    after = model(input_ids=text, labels=text).loss
    check(f"decoder {name}: PEFT trains on", after < before, f"({before:.4f} to {after:.4f})")

# ---------------------------------------------------------------- layers of other adapters, number by number
count = parity.write_all(work / "parity")
done = subprocess.run([fit_and_save, "parity", work / "parity"], capture_output=True, text=True)
print(done.stdout, end="")
check("parity: MiSS, HiRA, DeLoRA, GraLoRA, RandLoRA, LoHa, LoKr and VeRA compute what PEFT computes",
      done.returncode == 0 and done.stdout.endswith(f"{count} cases\n"), done.stderr)

# ---------------------------------------------------------------- the recipe of docs/adapters.md, as it stands
blocks = re.findall(r"```(python|sh)\n(.*?)```", recipe.read_text().split("<!-- recipe -->")[1].split("<!-- end -->")[0], re.S)
check("the recipe: two programs around one command", [kind for kind, _ in blocks] == ["python", "sh", "python"])
lines = [line for kind, text in blocks if kind == "python" for line in text.splitlines() if line.strip()]
check("the recipe: 20 lines of Python at most", len(lines) <= 20, f"({len(lines)})")
os.environ["MODEL"] = str(golden / "bert/a_plain/base")
os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
folder = work / "recipe"
folder.mkdir()
os.chdir(folder)
session = {}
for kind, text in blocks:
    if kind == "python":
        exec(text, session)
    else:
        subprocess.run(["sh", "-ec", text], check=True)
check("the recipe: it leaves a tuned adapter of rank 4", PeftModel.from_pretrained(base_model(), "tuned").peft_config["default"].r == 4)
os.chdir("/")

shutil.rmtree(work)
print(f"interop: {checks} tests passed, 0 failed")
