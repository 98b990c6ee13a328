"""The rows of decoders in bf16 of `./run peers --gpu`: a training step of LoRA on all seven linear layers of Llama's shapes,
weights and activations in bf16, in transformers and PEFT.

The weights are random, those of one block repeated in every block, so that both sides can be given the same ones in a
small file. Two copies of a large model do not fit on a card, so the sides run one after the other, not in turns."""
import gc
import statistics

import torch

import decoder
from decoder import PARTS

RANK, SCALING = 16, 2.0
SMOLLM2 = dict(decoder.SMOLLM2, length=2048)
LLAMA_1B = {"layers": 16, "heads": 32, "key_value_heads": 8, "hidden": 2048, "wide": 8192, "vocab": 128256,
            "positions": 4096, "sequences": 2, "length": 4096}
LLAMA_8B = dict(LLAMA_1B, layers=32, hidden=4096, wide=14336)
SMALL = {"layers": 3, "heads": 8, "key_value_heads": 2, "hidden": 512, "wide": 1536, "vocab": 4096, "positions": 512,
         "sequences": 2, "length": 512}
# name: shape, whether a step in fp32 fits on the card too, to measure errors by
SHAPES = {"decoder step, 3 blocks of 512, 2×512 tokens r16": (SMALL, True),
          "decoder step, SmolLM2-135M, 4×2048 tokens r16": (SMOLLM2, True),
          "decoder step, Llama-3.2-1B, 2×4096 tokens r16": (LLAMA_1B, False),
          "decoder step, Llama-3.1-8B, 2×4096 tokens r16": (LLAMA_8B, False)}
# Of PEFT: factors in bf16; factors in fp32, its default, under autocast.
PEERS = ("PEFT, bf16 factors", "PEFT, fp32 factors")


def layer_shapes(shape):
    head = shape["hidden"] // shape["heads"]
    keys, hidden, wide = head * shape["key_value_heads"], shape["hidden"], shape["wide"]
    return {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden),
            "mlp.down_proj": (hidden, wide)}


def inputs(shape):
    generator = torch.Generator("cuda").manual_seed(7)

    def random(*size, scale):
        return (scale * torch.randn(*size, generator=generator, device="cuda")).bfloat16()

    given = {"model.embed_tokens.weight": random(shape["vocab"], shape["hidden"], scale=0.05),
             "model.norm.weight": torch.ones(shape["hidden"], device="cuda")}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        for i in range(shape["layers"]):
            given[f"model.layers.{i}.{norm}.weight"] = torch.ones(shape["hidden"], device="cuda")
    for number, (part, (rows, cols)) in enumerate(layer_shapes(shape).items()):
        given[f"model.layers.0.{part}.weight"] = random(rows, cols, scale=0.5 * cols ** -0.5)
        given[f"A{number}"] = random(RANK, cols, scale=cols ** -0.5).float()
        given[f"B{number}"] = random(rows, RANK, scale=0.02).float()
    ids = torch.randint(0, shape["vocab"], (shape["sequences"], shape["length"]), generator=generator, device="cuda")
    given["ids"] = ids.float()
    for name in ("layers", "heads", "key_value_heads", "wide", "positions"):
        given[name] = torch.tensor(float(shape[name]))
    given["given_blocks"], given["given_factors"] = torch.tensor(1.0), torch.tensor(float(len(PARTS)))
    given["rate"] = torch.tensor(1e-4)
    return given


class Model:
    """PEFT's model, and one step of training. fp32: without rounding, to measure errors by."""

    def __init__(self, given, shape, factors, fp32=False, compiled=False):
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM
        dtype = torch.float32 if fp32 else torch.bfloat16
        config = LlamaConfig(vocab_size=shape["vocab"], hidden_size=shape["hidden"], num_hidden_layers=shape["layers"],
                             num_attention_heads=shape["heads"], num_key_value_heads=shape["key_value_heads"],
                             intermediate_size=shape["wide"], max_position_embeddings=shape["positions"],
                             tie_word_embeddings=True, rms_norm_eps=1e-5, attn_implementation="sdpa", use_cache=False)
        torch.set_default_dtype(dtype)
        try:
            with torch.device("cuda"):
                base = LlamaForCausalLM(config)
        finally:
            torch.set_default_dtype(torch.float32)
        lora = LoraConfig(r=RANK, lora_alpha=int(SCALING * RANK), lora_dropout=0.0, task_type="CAUSAL_LM",
                          target_modules=[part.split(".")[1] for part in PARTS])
        model = get_peft_model(base, lora, autocast_adapter_dtype=factors == "fp32")
        self.autocast = factors == "fp32" and not fp32
        modules = dict(model.base_model.model.named_modules())
        self.factors = []
        with torch.no_grad():
            base.model.embed_tokens.weight.copy_(given["model.embed_tokens.weight"])
            for i in range(shape["layers"]):
                for number, part in enumerate(PARTS):
                    module = modules[f"model.layers.{i}.{part}"]
                    module.base_layer.weight.copy_(given[f"model.layers.0.{part}.weight"])
                    A, B = module.lora_A["default"].weight, module.lora_B["default"].weight
                    A.copy_(given[f"A{number}"])
                    B.copy_(given[f"B{number}"])
                    self.factors.append((A, B))
        self.model = model.train()
        self.run_model = torch.compile(self.model) if compiled else self.model
        self.ids = given["ids"].long()
        self.optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4,
                                           weight_decay=0.01, fused=True)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.autocast):
            self.loss = self.run_model(input_ids=self.ids, labels=self.ids).loss
        self.loss.backward()
        self.optimizer.step()

    def result(self):
        tensors = {"loss": self.loss.detach().float().cpu()}
        for number, (A, B) in enumerate(self.factors):
            tensors[f"dA{number}"], tensors[f"dB{number}"] = A.grad.float().cpu(), B.grad.float().cpu()
        return tensors


def gap(found, exact):
    """The larger of the relative errors of the loss and of all gradients together."""
    gaps = {k: (float((found[k].double().flatten() - x.double().flatten()).norm()), float(x.double().norm()))
            for k, x in exact.items()}
    error, size = gaps.pop("loss")
    return max(error / size, (sum(g ** 2 for g, _ in gaps.values()) / sum(s ** 2 for _, s in gaps.values())) ** 0.5)


def operations(shape):
    """Of a step: products with frozen weights and thin ones, the head, half of all pairs of attention."""
    tokens = shape["sequences"] * shape["length"]
    weights = shape["layers"] * sum(m * n for m, n in layer_shapes(shape).values())
    thin = shape["layers"] * RANK * sum(m + n for m, n in layer_shapes(shape).values())
    attention = 6.0 * shape["layers"] * tokens * shape["length"] * shape["hidden"]
    return tokens * (4.0 * (weights + shape["vocab"] * shape["hidden"]) + 6.0 * thin) + attention


def freed():
    gc.collect()
    torch.cuda.empty_cache()


def row(name, make_child, watch, save, load, repeats, compiled):
    """The lines of a row. make_child() starts our program; save(tensors) and load() are files it reads and writes."""
    shape, exact_fits = SHAPES[name]
    given = inputs(shape)
    child = make_child()
    before = int(child.ask("memory"))
    child.ask("precision bf16")
    child.ask(f"prepare decoder_step {save(given)}")
    child.ask("check 1")
    child.ask(f"save {load.path}")
    found = load()
    child.run(2)
    ours = [child.run(1) for _ in range(repeats)]
    memory = int(child.ask("memory")) - before
    child.close()
    exact = None
    if exact_fits:
        torch.backends.cuda.matmul.allow_tf32 = False
        model = Model(given, shape, "fp32", fp32=True)
        model.step()
        exact = model.result()
        del model
        freed()
    lines = []
    peers = [(peer, False) for peer in PEERS] + ([(f"{PEERS[0]}, compiled", True)] if compiled else [])
    for peer, compile_it in peers:
        line = {"row": name, "precision": "bf16", "peer": peer, "ours_ms": statistics.median(o[0] for o in ours),
                "ours_clock_ms": statistics.median(o[1] for o in ours), "ours_gb": memory / 1e9, "note": ""}
        lines.append(line)
        try:
            torch.cuda.reset_peak_memory_stats()
            model = Model(given, shape, "bf16" if "bf16" in peer else "fp32", compiled=compile_it)
            model.step()
            theirs = model.result()
            if exact is None and "fp32" in peer:
                line["error_ours"], line["note"] = gap(found, theirs), "error: from PEFT's"
            elif exact is not None:
                line["error_ours"], line["error_peer"] = gap(found, exact), gap(theirs, exact)
            for _ in range(2):
                model.step()
            times = [watch.of(type("Peer", (), {"run": model.step, "reset": None}), 1) for _ in range(repeats)]
            line["peer_ms"] = statistics.median(t[0] for t in times)
            line["peer_clock_ms"] = statistics.median(t[1] for t in times)
            line["peer_gb"] = torch.cuda.max_memory_allocated() / 1e9
            line["ratio"] = line["peer_ms"] / line["ours_ms"]
            line["clock_ratio"] = line["peer_clock_ms"] / line["ours_clock_ms"]
        except Exception as problem:  # noqa: BLE001  (a peer that cannot do this work is a line of the table)
            line["note"] = str(problem).split("\n")[0][:60]
        model = None
        freed()
    return lines
