"""A case a kind of fault or wish, against the real PEFT on tiny models: what preheat-adapter merges, adds up or converts computes
what PEFT computes. Called by interop.py, whose helpers are `i`."""
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.intruders import reduce_intruder_dimension
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3MoeConfig, Qwen3MoeForCausalLM


def trained(i, name, config, base=None, train_all=False):
    """A folder that PEFT saved after a few steps, and the model."""
    torch.manual_seed(len(name))
    model = get_peft_model(base or i.base_model(), LoraConfig(**config))
    i.train(model, 3)
    model.save_pretrained(i.work / name)
    return i.work / name, model


def merged_folder(i, *arguments):
    """A model's folder that `merge` wrote, loaded by transformers as it is."""
    out = i.work / f"merged-{i.checks}"
    i.run("merge", *arguments, "--out", out)
    return i.base_model(path=out)


def whole_tensors(i):
    base = i.golden / "bert/a_plain/base"
    kinds = {
        "trained rows": dict(r=4, target_modules=["query"], trainable_token_indices={"word_embeddings": [3, 5, 900]}),
        "an embedding and its saved base": dict(r=4, target_modules=["query", "word_embeddings"]),
        "a head and biases": dict(r=4, target_modules=["query"], modules_to_save=["classifier"], bias="all"),
    }
    for name, config in kinds.items():
        folder, model = trained(i, "whole-" + name.replace(" ", "-"), config)
        i.same(f"{name}: merged to a folder", i.logits(merged_folder(i, folder, "--base", base), i.ids), i.logits(model, i.ids))


def orientations(i):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=False)).eval()
    base.save_pretrained(i.work / "gpt2")
    words = torch.arange(3, 15).unsqueeze(0)
    for targets in (["c_attn", "c_proj", "lm_head"], ["c_proj"]):
        model = get_peft_model(GPT2LMHeadModel.from_pretrained(i.work / "gpt2"), LoraConfig(r=4, target_modules=targets, init_lora_weights=False)).eval()
        name = "gpt2-" + "-".join(targets)
        model.save_pretrained(i.work / name)
        i.run("merge", i.work / name, "--base", i.work / "gpt2", "--out", i.work / (name + "-merged"))
        with torch.no_grad():
            i.same(f"GPT-2, {targets}: merged", GPT2LMHeadModel.from_pretrained(i.work / (name + "-merged")).eval()(words).logits, model(words).logits)


def sums(i):
    a, _ = trained(i, "sum-a", dict(r=4, target_modules=["query"], exclude_modules=["value"], layers_to_transform=[0], layers_pattern="layer"))
    b, _ = trained(i, "sum-b", dict(r=3, lora_alpha=7, target_modules=["query", "value"], use_rslora=True))
    c, _ = trained(i, "sum-c", dict(r=4, target_modules=["query", "dense"], lora_bias=True, trainable_token_indices={"word_embeddings": [3, 5]}))
    weights = [0.5, -1, 1]
    i.run("reduce", a, b, c, "--weights", *weights, "--type", "cat", "--out", i.work / "sum-abc")
    deltas, frozen = {}, i.base_model().state_dict()
    for folder, weight in zip((a, b, c), weights):
        for key, value in i.load(folder).merge_and_unload().state_dict().items():
            deltas[key] = deltas.get(key, 0) + weight * (value - frozen[key])
    model = i.load(i.work / "sum-abc").merge_and_unload().state_dict()
    moved = [key for key in deltas if deltas[key].abs().max() > 0]
    every = lambda change: torch.cat([change(key).flatten() for key in moved])
    i.check("the sum in PEFT: products, rows and biases", len(moved) > 5, f"({len(moved)} tensors)")
    i.same("the sum in PEFT", every(lambda key: model[key] - frozen[key]), every(lambda key: deltas[key]), 1e-4)


def combinations(i):
    settings = dict(r=4, target_modules=["query", "value"])
    a, _ = trained(i, "combine-a", settings)
    b, _ = trained(i, "combine-b", {**settings, "lora_alpha": 12})
    for kind, options in (("ties", dict(density=0.5)), ("ties", dict(density=0.3, majority_sign_method="frequency")),
                          ("magnitude_prune", dict(density=0.4)), ("dare_linear", dict(density=1.0)), ("dare_ties", dict(density=1.0))):
        model = PeftModel.from_pretrained(i.base_model(), a, adapter_name="a")
        model.load_adapter(b, "b")
        model.add_weighted_adapter(["a", "b"], [0.7, -0.4], "c", combination_type=kind, **options)
        model.set_adapter("c")
        out = i.work / f"combined-{i.checks}"
        i.run("combine", a, b, "--weights", 0.7, -0.4, "--type", kind, "--density", options["density"],
              "--majority", options.get("majority_sign_method", "total"), "--out", out)
        i.same(f"combine {kind} {options}", i.logits(i.load(out), i.ids), i.logits(model, i.ids))
    # DARE keeps each entry with probability d, divided by d.
    i.run("combine", a, "--type", "dare_linear", "--density", 0.5, "--out", i.work / "dare")
    x, y = (load_file(f / "adapter_model.safetensors") for f in (a, i.work / "dare"))
    A = torch.cat([x[k].flatten() for k in x if "lora_A" in k])
    B = torch.cat([y[k].flatten() for k in x if "lora_A" in k])
    kept = B != 0
    i.check("dare_linear: half of the entries", abs(kept.float().mean() - 0.5) < 0.05, f"({kept.float().mean():.3f})")
    ratio = (B[kept] / A[kept])
    i.check("dare_linear: divided by the density", (ratio / ratio.median() - 1).abs().max() < 1e-4)


def extraction(i):
    torch.manual_seed(4)
    tuned = i.base_model()
    i.train(tuned, 3, lr=1e-3)
    tuned.save_pretrained(i.work / "tuned")
    base = i.golden / "bert/a_plain/base"
    i.run("extract", i.work / "tuned", "--base", base, "--energy", 1, "--norms", "--biases", "--embeddings", "--out", i.work / "extracted")
    i.same("extract: all of a fine-tune", i.logits(merged_folder(i, i.work / "extracted", "--base", base), i.ids), i.logits(tuned, i.ids))
    i.same("extract: in PEFT", i.logits(i.load(i.work / "extracted"), i.ids), i.logits(tuned, i.ids))
    lora, model = trained(i, "to-extract", dict(r=4, target_modules=["query", "value"]))
    model.merge_and_unload().save_pretrained(i.work / "merged-lora")
    i.run("extract", i.work / "merged-lora", "--base", base, "--rank", 4, "--targets", ".*(query|value)", "--out", i.work / "again")
    i.same("extract: the LoRA that was merged", i.logits(i.load(i.work / "again"), i.ids), i.logits(i.load(lora), i.ids))


def conversions(i):
    base = i.golden / "bert/a_plain/base"
    dora, model = trained(i, "dora", dict(r=4, target_modules=["query"], use_dora=True))
    i.run("convert", dora, "--base", base, "--rank", 1000, "--out", i.work / "dora-plain")
    i.same("DoRA as plain LoRA of full rank", i.logits(i.load(i.work / "dora-plain"), i.ids), i.logits(model, i.ids))
    lora, model = trained(i, "styles", dict(r=4, lora_alpha=6, target_modules=["query", "value"]))
    for style in ("kohya", "comfy", "diffusers"):
        file = i.work / f"{style}.safetensors"
        i.run("convert", lora, "--to", style, "--out", file)
        i.run("convert", file, "--to", "peft", "--base", base, "--out", i.work / f"{style}-back")
        i.same(f"to {style} and back", i.logits(i.load(i.work / f"{style}-back"), i.ids), i.logits(model, i.ids))
        i.same(f"{style} merged", i.logits(merged_folder(i, file, "--base", base), i.ids), i.logits(model, i.ids))


def experts(i):
    """Experts in one tensor (target_parameters), and many modules of several ranks."""
    torch.manual_seed(5)
    config = Qwen3MoeConfig(vocab_size=50, hidden_size=16, intermediate_size=24, moe_intermediate_size=12, num_hidden_layers=2, num_experts=4,
                            num_experts_per_tok=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8)
    Qwen3MoeForCausalLM(config).eval().save_pretrained(i.work / "moe")
    base = lambda path=i.work / "moe": Qwen3MoeForCausalLM.from_pretrained(path).eval()
    words = torch.arange(3, 15).unsqueeze(0)
    parameters = [name.split("layers.0.")[1] for name, _ in base().named_parameters() if "layers.0.mlp.experts" in name]
    model = get_peft_model(base(), LoraConfig(r=4, target_modules=["q_proj"], target_parameters=parameters, init_lora_weights=False)).eval()
    model.save_pretrained(i.work / "moe-lora")
    with torch.no_grad():
        expected = model(words).logits
        model.merge_and_unload().save_pretrained(i.work / "moe-theirs")
        names = load_file(i.work / "moe/model.safetensors").keys()
        fused = any(name.endswith("experts.gate_up_proj") for name in names)
        if not fused:  # transformers splits the experts when it saves: the adapter's parameters are not in the file
            i.check("experts: refused, the file has them one by one", "fit none" in i.fails("merge", i.work / "moe-lora", "--base", i.work / "moe", "--out", i.work / "moe-merged"))
            state = base().state_dict()
            (i.work / "moe-fused").mkdir()
            save_file({key: value.contiguous() for key, value in state.items()}, i.work / "moe-fused/model.safetensors")
            i.run("merge", i.work / "moe-lora", "--base", i.work / "moe-fused", "--out", i.work / "moe-ours.safetensors")
            merged = base()
            merged.load_state_dict(load_file(i.work / "moe-ours.safetensors"))
        else:
            i.run("merge", i.work / "moe-lora", "--base", i.work / "moe", "--out", i.work / "moe-merged")
            merged = base(i.work / "moe-merged")
        i.same("experts in one tensor: merged", merged(words).logits, expected)


def scales(i):
    """The scale is found where it is said, and low precision costs one rounding."""
    lora, model = trained(i, "scales", dict(r=4, lora_alpha=3, use_rslora=True, target_modules=["query", "value"], alpha_pattern={"value": 9}))
    base = i.golden / "bert/a_plain/base"
    i.same("a folder's file alone", i.logits(merged_folder(i, lora / "adapter_model.safetensors", "--base", base), i.ids), i.logits(model, i.ids))
    i.run("reduce", lora, "--rank", 4, "--dtype", "fp16", "--out", i.work / "scales-half")
    i.same("in F16", i.logits(i.load(i.work / "scales-half"), i.ids), i.logits(model, i.ids), 2e-3)


def intruders(i):
    config = dict(r=4, lora_alpha=16, target_modules=["query", "value"], init_lora_weights=False)
    lora, model = trained(i, "intruders", config)
    said = []
    reduce_intruder_dimension(model, "default", "mitigated", top_k=6, threshold_epsilon=0.6, mitigation_lambda=0.5, logging_sink=said.append)
    i.check("intruders: PEFT finds some", any("Intruders: " in line for line in said))
    base = i.golden / "bert/a_plain/base"
    i.run("reduce", lora, "--remove-intruders", "--intruder-scale", 0.5, "--base", base, "--top-k", 6, "--threshold", 0.6, "--out", i.work / "mitigated")
    i.same("intruders: scaled", i.logits(i.load(i.work / "mitigated"), i.ids), i.logits(model.eval(), i.ids))


def check_all(i):
    scales(i)
    intruders(i)
    experts(i)
    whole_tensors(i)
    orientations(i)
    sums(i)
    combinations(i)
    extraction(i)
    conversions(i)
