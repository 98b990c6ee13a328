"""The encoder row of `./run peers`: a training step of an encoder of MiniLM's shape in transformers and PEFT, or of
another shape on a GPU.

As a program it takes the row's steps alone in this process and prints its peak memory in bytes before and after."""
import os
import re
import sys

import torch

NAME = "encoder step, MiniLM, 8×128 tokens r8"
MINILM = {"layers": 6, "heads": 12, "hidden": 384, "wide": 1536, "vocab": 30522, "positions": 512, "sequences": 8,
          "length": 128}
BASE = {**MINILM, "layers": 12, "hidden": 768, "wide": 3072, "sequences": 32}
RANK, SCALING, RATE, CLASSES = 8, 2.0, 1e-4, 2
PARTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
         "intermediate.dense", "output.dense")


class Classifier(torch.nn.Module):
    """The mean over the tokens and one linear layer, on any encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, torch.nn.Linear(encoder.config.hidden_size, CLASSES)

    def forward(self, ids):
        return self.head(self.encoder(input_ids=ids).last_hidden_state.mean(dim=1))


def base_model(shape):
    from transformers import BertConfig, BertModel
    torch.manual_seed(7)
    config = BertConfig(vocab_size=shape["vocab"], hidden_size=shape["hidden"], num_hidden_layers=shape["layers"],
                        num_attention_heads=shape["heads"], intermediate_size=shape["wide"],
                        max_position_embeddings=shape["positions"], initializer_range=0.05,
                        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return BertModel(config, add_pooling_layer=False)


class Model:
    """The encoder with its adapters on the device of the ids, and one step of training; compile: a mode of
    torch.compile, or None."""

    def __init__(self, given, dtype=torch.float32, shape=MINILM, compile=None):
        from peft import LoraConfig, get_peft_model
        adapted = get_peft_model(base_model(shape), LoraConfig(r=RANK, lora_alpha=int(SCALING * RANK), lora_dropout=0.0,
                                                          target_modules=["query", "key", "value", "dense"]))
        model = Classifier(adapted)
        model.head.weight.data, model.head.bias.data = given["head.weight"].clone(), given["head.bias"].clone()
        modules = dict(adapted.base_model.model.named_modules())
        self.factors = []
        for number, name in enumerate(f"encoder.layer.{i}.{part}" for i in range(shape["layers"]) for part in PARTS):
            A, B = modules[name].lora_A["default"].weight, modules[name].lora_B["default"].weight
            A.data, B.data = given[f"A{number}"].clone(), given[f"B{number}"].clone()
            self.factors.append((A, B))
        model = model.to(given["ids"].device, dtype).eval()  # without the dropout modules, whose rates are 0
        self.model = torch.compile(model, mode=compile) if compile else model
        self.ids, self.labels = given["ids"].long(), given["labels"].flatten().long()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = torch.nn.functional.cross_entropy(self.model(self.ids), self.labels)
        self.loss.backward()
        self.optimizer.step()

    def result(self):
        tensors = {"dW": self.model.head.weight.grad, "db": self.model.head.bias.grad, "loss": self.loss.detach()}
        for number, (A, B) in enumerate(self.factors):
            tensors[f"dA{number}"], tensors[f"dB{number}"] = A.grad, B.grad
        return tensors


def inputs(shape=MINILM):
    def seeded(*size, seed, scale=1.0):
        return scale * torch.randn(*size, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")

    h, w = shape["hidden"], shape["wide"]
    given = {name: tensor for name, tensor in base_model(shape).state_dict().items() if tensor.is_floating_point()}
    for number in range(shape["layers"] * len(PARTS)):
        out, into = {4: (w, h), 5: (h, w)}.get(number % len(PARTS), (h, h))
        given[f"A{number}"] = seeded(RANK, into, seed=100 + number, scale=into ** -0.5)
        given[f"B{number}"] = seeded(out, RANK, seed=200 + number, scale=0.02)
    given["head.weight"], given["head.bias"] = seeded(CLASSES, h, seed=3, scale=h ** -0.5), torch.zeros(CLASSES)
    random = torch.Generator("cpu").manual_seed(4)
    given["ids"] = torch.randint(0, shape["vocab"], (shape["sequences"], shape["length"]), generator=random,
                                 device="cpu").float()
    given["labels"] = torch.randint(0, CLASSES, (shape["sequences"], 1), generator=random, device="cpu").float()
    for name in ("layers", "heads"):
        given[name] = torch.tensor(float(shape[name]))
    given["rate"] = torch.tensor(RATE)
    return given


def frozen_products(given, shape=MINILM):
    """W·X of every linear layer, and Wᵀ·dY of those with a trained layer below them; the operations of a step."""
    weights = [given[f"encoder.layer.{i}.{part}.weight"] for i in range(shape["layers"]) for part in PARTS]
    tokens = shape["sequences"] * shape["length"]
    X = [torch.randn(tokens, W.shape[1], device=W.device) for W in weights]

    def run():
        outputs = [torch.mm(x, W.T) for x, W in zip(X, weights)]
        for y, W in zip(outputs[:2:-1], weights[:2:-1]):
            torch.mm(y, W)

    frozen = 2.0 * tokens * (sum(W.numel() for W in weights) + sum(W.numel() for W in weights[3:]))
    thin = 6.0 * tokens * RANK * sum(sum(W.shape) for W in weights)
    attention = 12.0 * shape["layers"] * tokens * shape["length"] * shape["hidden"]
    return run, frozen + thin + attention


def error_function(given, shape=MINILM, together=False):
    """Against a step in double precision: the largest relative error of the loss and of a gradient; or, together, the
    error of all gradients relative to the norm of all, for encoders some of whose gradients almost vanish."""
    exact = {}

    def error(result):
        if not exact:
            double = Model({name: tensor.double() for name, tensor in given.items()}, torch.float64, shape)
            double.step()
            exact.update(double.result())
        gaps = {k: (float((result[k].double().flatten() - x.flatten()).norm()), float(x.norm())) for k, x in exact.items()}
        if together:
            return sum(gap ** 2 for gap, _ in gaps.values()) ** 0.5 / sum(size ** 2 for _, size in gaps.values()) ** 0.5
        return max(gap / size for gap, size in gaps.values())

    return error


def encoder_row(Row, Peer, over_bound):
    given = inputs()
    peer = Model(given)
    products, flops = frozen_products(given)
    return Row(NAME, "encoder_step", given, [(Peer("PEFT", peer.step, peer.result), {})], error_function(given), 1e-3,
               flops=flops, bound=("encoder_products", Peer("the same products", products, lambda: {}), over_bound),
               bound_name="frozen products")


def peak_memory():
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))


def peak_memory_of_steps(Model):
    """The command THREADS FILE [NAME=VALUE...]: prints the peak before and after three steps of Model(given, ...)."""
    torch.set_num_threads(int(sys.argv[1]))
    import peft  # noqa: F401
    import transformers  # noqa: F401
    from safetensors.torch import load_file
    before = peak_memory()
    model = Model(load_file(sys.argv[2]), **dict(setting.split("=") for setting in sys.argv[3:]))
    for _ in range(3):
        model.step()
    print(before, peak_memory())
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    peak_memory_of_steps(Model)
