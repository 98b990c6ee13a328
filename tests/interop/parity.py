"""Layers of the real PEFT with random parameters, in double: their output, gradients and merged weight, one
safetensors file a case. parity.hpp computes the same by preheat.

    python parity.py FOLDER
"""
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch
from peft import (DeloraConfig, GraloraConfig, HiraConfig, LoHaConfig, LoKrConfig, MissConfig, RandLoraConfig, ShiraConfig,
                  VeraConfig, get_peft_model)
from safetensors.torch import save_file

# (in, out) of the layers: tall, wide, and for MiSS one whose shards do not divide.
SHAPES = {"tall": (8, 12), "wide": (12, 8)}


class One(torch.nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.lin = torch.nn.Linear(n, m)

    def forward(self, x):
        return self.lin(x)


def plain(*names):
    """PEFT's tensors by our names, where the shapes are ours."""
    return lambda layer, of: {ours: of(getattr(layer, theirs)["default"]) for ours, theirs in names}


def gralora(layer, of):
    A, B = of(layer.gralora_A["default"]), of(layer.gralora_B["default"])  # k × in/k × r, k × r × out/k
    return {"A": A.permute(2, 0, 1).flatten(1), "B": B.permute(0, 2, 1).flatten(0, 1)}


def randlora(layer, of):
    return {"lambda": of(layer.randlora_lambda["default"]).T, "gamma": of(layer.randlora_gamma["default"])}


def randlora_shared(layer):
    A, B = layer.randlora_A["default"], layer.randlora_B["default"]
    return {"shared.a": A[:, 0, :].T, "shared.V": B.flatten(1)}


def scattered(layer, values):
    """SHiRA's entries as a matrix."""
    D = torch.zeros(layer.out_features, layer.in_features, dtype=torch.float64)
    rows, cols = layer.shira_indices["default"].long()
    D[rows, cols] = values
    return D


def column(of_names):
    return lambda layer, of: {ours: of(getattr(layer, theirs)["default"]).reshape(-1, 1) for ours, theirs in of_names}


# method: settings, our trained tensors from a layer, what is not trained, s
METHODS = {
    "miss": (lambda: MissConfig(r=4, target_modules=["lin"], init_weights=False),
             lambda layer, of: {"B": of(layer.miss_block["default"]).T}, lambda layer: {}, lambda layer: 1.0),
    "hira": (lambda: HiraConfig(r=4, target_modules=["lin"]),
             plain(("A", "hira_A"), ("B", "hira_B")), lambda layer: {}, lambda layer: 1.0),
    "delora": (lambda: DeloraConfig(r=4, target_modules=["lin"], init_weights=False),
               lambda layer, of: {"A": of(layer.delora_A["default"]), "B": of(layer.delora_B["default"]),
                                  "lambda": of(layer.delora_lambda["default"]).reshape(1, 1)},
               lambda layer: {"p.w": layer.delora_w_norm["default"].reshape(-1, 1)}, lambda layer: 1.0),
    "gralora": (lambda: GraloraConfig(r=4, alpha=6, gralora_k=2, target_modules=["lin"], init_weights=False),
                gralora, lambda layer: {}, lambda layer: layer.scaling["default"]),
    "gralora4": (lambda: GraloraConfig(r=8, alpha=8, gralora_k=4, target_modules=["lin"], init_weights=False),
                 gralora, lambda layer: {}, lambda layer: layer.scaling["default"]),
    "randlora": (lambda: RandLoraConfig(r=3, randlora_alpha=6, target_modules=["lin"], init_weights=False),
                 randlora, randlora_shared, lambda layer: layer.scaling["default"]),
    "loha": (lambda: LoHaConfig(r=4, alpha=6, target_modules=["lin"], init_weights=False),
             plain(("A1", "hada_w1_b"), ("B1", "hada_w1_a"), ("A2", "hada_w2_b"), ("B2", "hada_w2_a")),
             lambda layer: {}, lambda layer: layer.scaling["default"]),
    "lokr": (lambda: LoKrConfig(r=1, alpha=2, target_modules=["lin"], init_weights=False),
             plain(("K", "lokr_w1"), ("A", "lokr_w2_b"), ("B", "lokr_w2_a")), lambda layer: {},
             lambda layer: layer.scaling["default"]),
    "shira": (lambda: ShiraConfig(r=2, random_seed=1, target_modules=["lin"], init_weights=False),
              lambda layer, of: {"D": scattered(layer, of(layer.shira_weight["default"]))},
              lambda layer: {"p.mask": scattered(layer, torch.ones((), dtype=torch.float64))}, lambda layer: 1.0),
    "vera": (lambda: VeraConfig(r=5, target_modules=["lin"], init_weights=False),
             column((("lambda_d", "vera_lambda_d"), ("lambda_b", "vera_lambda_b"))),
             lambda layer: {"shared.A": layer.vera_A["default"], "shared.B": layer.vera_B["default"]}, lambda layer: 1.0),
}


def write_case(folder, method, shape, n, m):
    settings, trained, fixed, scale = METHODS[method]
    torch.manual_seed(hash((n, m)) % 1000)
    model = get_peft_model(One(n, m), settings()).double()
    layer = model.base_model.model.lin
    for name, p in model.named_parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, std=0.5)
    base = layer.get_base_layer()
    out = {"W": base.weight.detach().clone(), "b": base.bias.detach().clone().reshape(-1, 1)}
    X = torch.randn(7, n, dtype=torch.float64, requires_grad=True)
    dY = torch.randn(7, m, dtype=torch.float64)
    Y = model(X)
    (Y * dY).sum().backward()
    out |= {f"p.{k}": v for k, v in trained(layer, lambda p: p.detach()).items()}
    out |= {f"g.{k}": v for k, v in trained(layer, lambda p: p.grad).items()}
    out |= {"X": X.detach().T, "dY": dY.T, "Y": Y.detach().T, "dX": X.grad.T}
    out |= {k: v.detach() for k, v in fixed(layer).items()}
    out["s"] = torch.tensor([[float(scale(layer))]])
    out["W_merged"] = model.merge_and_unload().lin.weight.detach()
    save_file({k: v.double().clone().contiguous() for k, v in out.items()}, Path(folder) / f"{method}-{shape}.safetensors")


def write_all(folder):
    """Writes every case, and returns how many."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    count = 0
    for method in METHODS:
        shapes = SHAPES | ({"uneven": (10, 6)} if method == "miss" else {})
        for shape, (n, m) in shapes.items():
            write_case(folder, method, shape, n, m)
            count += 1
    return count


if __name__ == "__main__":
    print(write_all(sys.argv[1]), "cases")
