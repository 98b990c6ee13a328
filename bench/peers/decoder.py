"""The rows of a language model of `./run peers`: a training step of SmolLM2-135M's shape, or of a tiny one, in
transformers and PEFT.

As a program it takes a row's steps alone in this process and prints its peak memory in bytes before and after."""
import torch

from encoder import peak_memory_of_steps

SMOLLM2 = {"layers": 30, "heads": 9, "key_value_heads": 3, "hidden": 576, "wide": 1536, "vocab": 49152,
           "positions": 8192, "sequences": 4, "length": 256}
TINY = {"layers": 2, "heads": 4, "key_value_heads": 2, "hidden": 64, "wide": 128, "vocab": 1024, "positions": 128,
        "sequences": 2, "length": 64}
NAME = "decoder step, SmolLM2-135M, 4×256 tokens r8"
TINY_NAME = "decoder step, 2 blocks of 64, 2×64 tokens r8"
RANK, SCALING, RATE = 8, 2.0, 1e-4
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
         "mlp.up_proj", "mlp.down_proj")
MOST_TURNS = 5  # a turn takes half a minute


def layer_names(shape):
    return [f"model.layers.{i}.{part}" for i in range(shape["layers"]) for part in PARTS]


def base_model(shape, attention="sdpa"):
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=shape["vocab"], hidden_size=shape["hidden"], num_hidden_layers=shape["layers"],
                         num_attention_heads=shape["heads"], num_key_value_heads=shape["key_value_heads"],
                         intermediate_size=shape["wide"], max_position_embeddings=shape["positions"],
                         tie_word_embeddings=True, initializer_range=0.05, rms_norm_eps=1e-5,
                         attn_implementation=attention)
    return LlamaForCausalLM(config)


class Model:
    """The language model with its adapters, and one step of training."""

    def __init__(self, given, dtype=torch.float32, shape=SMOLLM2, attention="sdpa"):
        from peft import LoraConfig, get_peft_model
        config = LoraConfig(r=RANK, lora_alpha=int(SCALING * RANK), lora_dropout=0.0, task_type="CAUSAL_LM",
                            target_modules=[part.split(".")[1] for part in PARTS])
        model = get_peft_model(base_model(shape, attention), config)
        modules = dict(model.base_model.model.named_modules())
        self.factors = []
        for number, name in enumerate(layer_names(shape)):
            A, B = modules[name].lora_A["default"].weight, modules[name].lora_B["default"].weight
            A.data, B.data = given[f"A{number}"].clone(), given[f"B{number}"].clone()
            self.factors.append((A, B))
        self.model = model.to(dtype).train()
        self.model.config.use_cache = False
        self.ids = given["ids"].long()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = self.model(input_ids=self.ids, labels=self.ids).loss
        self.loss.backward()
        self.optimizer.step()

    def result(self):
        tensors = {"loss": self.loss.detach()}
        for number, (A, B) in enumerate(self.factors):
            tensors[f"dA{number}"], tensors[f"dB{number}"] = A.grad, B.grad
        return tensors


def inputs(shape=SMOLLM2):
    def seeded(*size, seed, scale):
        return scale * torch.randn(*size, generator=torch.Generator("cpu").manual_seed(seed))

    given = {name: tensor for name, tensor in base_model(shape).state_dict().items() if name != "lm_head.weight"}
    for number, name in enumerate(layer_names(shape)):
        out, into = given[f"{name}.weight"].shape
        given[f"A{number}"] = seeded(RANK, into, seed=100 + number, scale=into ** -0.5)
        given[f"B{number}"] = seeded(out, RANK, seed=1000 + number, scale=0.02)
    random = torch.Generator("cpu").manual_seed(4)
    given["ids"] = torch.randint(0, shape["vocab"], (shape["sequences"], shape["length"]), generator=random).float()
    for name in ("layers", "heads", "key_value_heads", "wide", "positions"):
        given[name] = torch.tensor(float(shape[name]))
    given["rate"] = torch.tensor(RATE)
    return given


def frozen_products(given, shape):
    """W·X of every linear layer, Wᵀ·dY of those with a trained layer below them, and both of the head for every token
    that is predicted; the operations of a step."""
    weights = [given[f"{name}.weight"] for name in layer_names(shape)]
    tokens, words = shape["sequences"] * shape["length"], given["model.embed_tokens.weight"]
    X = [torch.randn(tokens, W.shape[1]) for W in weights]
    last = torch.randn(tokens - shape["sequences"], words.shape[1])

    def run():
        outputs = [torch.mm(x, W.T) for x, W in zip(X, weights)]
        for y, W in zip(outputs[:2:-1], weights[:2:-1]):
            torch.mm(y, W)
        torch.mm(torch.mm(last, words.T), words)

    frozen = 2.0 * tokens * (sum(W.numel() for W in weights) + sum(W.numel() for W in weights[3:]))
    head = 4.0 * last.shape[0] * words.numel()
    thin = 6.0 * tokens * RANK * sum(sum(W.shape) for W in weights)
    attention = 6.0 * shape["layers"] * tokens * shape["length"] * shape["hidden"]  # half of all pairs
    return run, frozen + head + thin + attention


def error_function(given, shape):
    """Against a step in double precision: the larger of the relative errors of the loss and of all gradients
    together, since those of some layers almost vanish."""
    exact = {}

    def error(result):
        if not exact:
            double = Model({name: tensor.double() for name, tensor in given.items()}, torch.float64, shape, "eager")
            double.step()
            exact.update({name: tensor.clone() for name, tensor in double.result().items()})
        gaps = {k: (float((result[k].double().flatten() - x.flatten()).norm()), float(x.norm()))
                for k, x in exact.items()}
        gap, size = gaps.pop("loss")
        return max(gap / size, (sum(g ** 2 for g, _ in gaps.values()) / sum(s ** 2 for _, s in gaps.values())) ** 0.5)

    return error


def decoder_row(Row, Peer, name, shape, reach, over_bound):
    """reach: how many times faster than PEFT with PyTorch's fused attention."""
    given = inputs(shape)
    peers = []
    for attention, mark in (("sdpa", reach), ("eager", {})):
        model = Model(given, shape=shape, attention=attention)
        peers.append((Peer(f"PEFT {attention}", model.step, model.result), mark))
    products, flops = frozen_products(given, shape)
    return Row(name, "decoder_step", given, peers, error_function(given, shape), 1e-3, flops=flops,
               bound=("decoder_products", Peer("the same products", products, lambda: {}), over_bound),
               bound_name="frozen products", most_turns=MOST_TURNS)


if __name__ == "__main__":
    peak_memory_of_steps(Model)
