"""Work on a PeftModel in place; where a folder is given instead, the command of preheat-adapter of the same name."""
from __future__ import annotations

from typing import Any, Callable, Sequence

from . import _preheat
from .files import Adapter, PathLike, folder_of, run, thread_count


class _Layer:
    """One layer of a model's adapter."""

    def __init__(self, name: str, module: Any, adapter: str) -> None:
        self.name, self.module, self.adapter = name, module, adapter
        if adapter in getattr(module, "lora_embedding_A", {}):
            self.A, self.B = module.lora_embedding_A[adapter], module.lora_embedding_B[adapter]
        else:
            self.A, self.B = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        if self.A.ndim != 2 or self.B.ndim != 2:
            raise ValueError(f"module {name}: its factors are no matrices; convolutions are for the functions on folders")

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    def set(self, A: Any, B: Any) -> None:
        self.A.data.copy_(A)
        self.B.data.copy_(B)

    def resize(self, A: Any, B: Any) -> None:
        """Factors of another rank, with s = 1."""
        self.A.data = A.to(self.A.data)
        self.B.data = B.to(self.B.data)
        module, rank = self.module, A.shape[0]
        if hasattr(module.lora_A, self.adapter):
            module.lora_A[self.adapter].out_features = rank
            module.lora_B[self.adapter].in_features = rank
        module.r[self.adapter] = rank
        module.lora_alpha[self.adapter] = rank
        module.scaling[self.adapter] = 1.0


def _layers(model: Any, adapter: str) -> list[_Layer]:
    if adapter not in getattr(model, "peft_config", {}):
        known = ", ".join(getattr(model, "peft_config", {})) or "none: it is no PeftModel"
        raise ValueError(f'the model has no adapter "{adapter}"; it has {known}')
    prefix = "base_model.model."
    found = [_Layer(name[len(prefix):] if name.startswith(prefix) else name, module, adapter)
             for name, module in model.named_modules()
             if adapter in getattr(module, "lora_A", {}) or adapter in getattr(module, "lora_embedding_A", {})]
    if not found:
        raise ValueError(f'the adapter "{adapter}" has no LoRA layer')
    return found


def _plain(tensor: Any) -> Any:
    """The tensor itself, if the library can read it where it lies; else a float32 copy of it on the CPU."""
    import torch

    return tensor.detach().to("cpu", torch.float32).contiguous()


def _factors(layers: Sequence[_Layer]) -> list[tuple[Any, Any]]:
    return [(_plain(layer.A), _plain(layer.B)) for layer in layers]


def _refuse_dora(model: Any, adapter: str, what: str) -> None:
    if getattr(model.peft_config[adapter], "use_dora", False):
        raise ValueError(f"{what} of a DoRA adapter: its magnitudes belong to its product; use plain LoRA")


def _is_path(value: Any) -> bool:
    import os

    return isinstance(value, (str, os.PathLike))


def hrp(model: Any = None, preheated: Adapter = None, *, rank: int | None = None, out: PathLike | None = None,
        initial: PathLike | None = None, side: str = "auto", row_norm: float = 1.0, seed: int = 0,
        threads: int | None = None) -> Any:
    """High-Rank Preheating (arXiv 2502.07739): starts the adapter of `model` from a preheated adapter of a higher rank R.

    With B·A = U·S·Vᵀ of the preheated factors, A (R, in) and B (out, R): side "right" gives A = row_norm·Vᵀ[:r], B = 0,
    side "left" gives B = row_norm·U[:, :r], A = 0; "auto" is right. The product is zero, so the model's output is that of
    its base. `preheated` is a PeftModel of the same modules or the name of another adapter of `model`. Returns the model.

    Between folders, as preheat-adapter does it: hrp(preheated="warm", rank=8, out="start"), with `initial` the adapter
    before preheating. Returns the report."""
    if model is None:
        if rank is None or out is None:
            raise ValueError("hrp between folders needs rank and out")
        with folder_of(preheated) as folder:
            return run("hrp", folder, rank=rank, out=out, initial=initial, side=side, row_norm=row_norm, seed=seed,
                       threads=threads)
    if side not in ("auto", "left", "right"):
        raise ValueError(f'side "{side}" is none of auto, left, right')
    adapter = model.active_adapter
    layers = _layers(model, adapter)
    _refuse_dora(model, adapter, "hrp")
    if hasattr(preheated, "peft_config"):
        source, name = preheated, preheated.active_adapter
    elif isinstance(preheated, str) and preheated in model.peft_config:
        source, name = model, preheated
    elif _is_path(preheated):
        return _start_from_folder(model, adapter, layers, preheated, side, row_norm, seed, threads)
    else:
        raise ValueError("preheated is a PeftModel, the name of another adapter of the model, or a folder")
    warm = {layer.name: layer for layer in _layers(source, name)}
    missing = [layer.name for layer in layers if layer.name not in warm]
    if missing:
        raise ValueError(f"module {missing[0]} is not in the preheated adapter")
    started = _preheat.hrp(_factors([warm[layer.name] for layer in layers]), [layer.rank for layer in layers],
                           side == "left", row_norm, seed, thread_count(threads))
    for layer, (A, B, *_) in zip(layers, started):
        layer.set(A, B)
    return model


def _start_from_folder(model: Any, adapter: str, layers: Sequence[_Layer], preheated: PathLike, side: str, row_norm: float,
                       seed: int, threads: int | None) -> Any:
    import tempfile

    from peft import PeftModel, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    ranks = {layer.rank for layer in layers}
    if len(ranks) != 1:
        raise ValueError(f"hrp from a folder gives every layer one rank; the model's layers have {sorted(ranks)}")
    with tempfile.TemporaryDirectory(prefix="preheat-") as folder:
        run("hrp", preheated, rank=ranks.pop(), out=folder + "/start", side=side, row_norm=row_norm, seed=seed, threads=threads)
        loaded = set_peft_model_state_dict(model, load_peft_weights(folder + "/start", device="cpu"), adapter_name=adapter)
    if loaded.unexpected_keys:
        raise ValueError(f"the model has no {loaded.unexpected_keys[0]} of the preheated adapter")
    return model


def hrp_(model: Any, train_step: Callable[[Any, Any], Any], steps: int, *, rank: int | None = None, lr: float = 1e-2,
         optimizer: Callable[[list[Any]], Any] | None = None, row_norm: float = 1.0, seed: int = 0,
         threads: int | None = None) -> Any:
    """Preheats a PeftModel and restarts it in place, as init::hrp<> of the library does (arXiv 2502.07739).

    A second adapter of rank R (`rank`; 16 times the model's, at most what its layers allow), of the same modules and scale,
    with B orthonormal and frozen and A = 0, is trained by `train_step(model, optimizer)`, called `steps` times, which does
    one whole step: forward, backward, optimizer.step(), optimizer.zero_grad(). The optimizer is `optimizer(parameters)`,
    by default plain SGD of rate `lr`. Then it is removed, and the model's own adapter starts from the main right singular
    vectors of its product: A = row_norm·Vᵀ[:r], B = 0. The base stays untouched. Returns the model."""
    import copy

    import torch

    if steps < 1:
        raise ValueError(f"preheating steps >= 1: {steps}")
    adapter, warm = model.active_adapter, "preheat"
    layers = _layers(model, adapter)
    _refuse_dora(model, adapter, "hrp_")
    if warm in model.peft_config:
        raise ValueError(f'the model has an adapter "{warm}" already')
    largest = min(min(layer.A.shape[1], layer.B.shape[0]) for layer in layers)
    R = min(16 * max(layer.rank for layer in layers), largest) if rank is None else rank
    if not max(layer.rank for layer in layers) <= R <= largest:
        raise ValueError(f"rank <= preheating rank <= min(in, out): {max(l.rank for l in layers)}, {R}, {largest}")
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    config = copy.deepcopy(model.peft_config[adapter])
    config.r, config.lora_alpha, config.rank_pattern, config.alpha_pattern = R, R, {}, {}
    config.use_rslora, config.init_lora_weights, config.modules_to_save = False, True, None
    model.add_adapter(warm, config)
    try:
        model.set_adapter(warm)
        generator = torch.Generator().manual_seed(seed)
        parameters = []
        scale_of = {layer.name: layer.module.scaling[adapter] for layer in layers}
        for layer in _layers(model, warm):
            Q = torch.linalg.qr(torch.randn(layer.B.shape, generator=generator)).Q
            layer.set(torch.zeros(layer.A.shape), Q)
            layer.module.scaling[warm] = scale_of[layer.name]
            layer.B.requires_grad_(False)
            parameters.append(layer.A)
        chosen = optimizer(parameters) if optimizer else torch.optim.SGD(parameters, lr=lr)
        for _ in range(steps):
            train_step(model, chosen)
        model.set_adapter(adapter)
        hrp(model, warm, side="right", row_norm=row_norm, seed=seed, threads=threads)
    finally:
        model.set_adapter(adapter)
        model.delete_adapter(warm)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trained.get(name, parameter.requires_grad))
    return model


def reduce(model: Adapter, rank: int | None = None, energy: float | None = None, *, ratio: float | None = None,
           out: PathLike | None = None, dtype: str | None = None, seed: int = 0, threads: int | None = None) -> Any:
    """The best adapter of a lower rank: the truncated SVD of every s·B·A, computed from its factors A (R, in) and B (out, R)
    without forming it (Eckart and Young 1936). The rank is `rank`, or per layer the least that keeps `energy` of ‖ΔW‖², or
    the singular values of at least σ₁/`ratio`; with these, `rank` is the most. The result has s = 1.

    A PeftModel's active adapter is changed in place, and the model returned; of a folder the result is written to `out`, and
    the report returned."""
    if _is_path(model):
        if out is None:
            raise ValueError("reduce of a folder needs out")
        return run("reduce", model, rank=rank, energy=energy, ratio=ratio, out=out, dtype=dtype, seed=seed, threads=threads)
    if out is not None or dtype is not None:
        raise ValueError("reduce of a model changes it in place; out and dtype are for folders")
    adapter = model.active_adapter
    layers = _layers(model, adapter)
    _refuse_dora(model, adapter, "reduce")
    results = _preheat.reduce(_factors(layers), [float(layer.module.scaling[adapter]) for layer in layers], rank or 0,
                              energy or 0.0, ratio or 0.0, seed, thread_count(threads))
    for layer, (A, B, *_) in zip(layers, results):
        layer.resize(A, B)
    config = model.peft_config[adapter]
    ranks = [layer.rank for layer in layers]
    config.r = max(ranks)
    config.lora_alpha = config.r
    config.use_rslora = False
    config.rank_pattern = {layer.name: layer.rank for layer in layers if layer.rank != config.r}
    config.alpha_pattern = dict(config.rank_pattern)
    return model


def init_lora(model: Any, kind: str, *, loss: Callable[[Any], Any] | None = None, seed: int = 0,
              threads: int | None = None) -> Any:
    """Starts the active adapter of a PeftModel from the weights W (out, in) of its base, and returns the model.

    kind                A and B of one layer, of rank r and scale s                                   source
    "pissa"             the main r singular triplets, √(S/s); the exact ones to 1e-5·σ₁                arXiv 2404.02948
    "pissa_randomized"  the same by a randomized SVD with 4 power iterations                          the same
    "milora"            the r smallest singular triplets                                              arXiv 2406.09044
    "olora"             B = Q[:, :r], A = R[:r] of W = Q·R                                            arXiv 2406.01775
    "lora_ga"           2r singular vectors of the gradient of `loss(model)`, PEFT's stable form        arXiv 2407.05000
    "orthogonal"        A with orthonormal rows, B = 0

    All but "orthogonal" take s·B·A out of W in place, so that the model's output stays. A model saved afterwards belongs to
    that base: save the adapter before training too, and `convert(trained, initial=before, out=…)` makes plain LoRA on the
    original base. Cost: a few products of W with thin matrices for pissa and lora_ga, a QR for olora, an SVD for milora."""
    adapter = model.active_adapter
    layers = _layers(model, adapter)
    _refuse_dora(model, adapter, "init_lora")
    if (kind == "lora_ga") != (loss is not None):
        raise ValueError("init_lora: lora_ga needs loss(model), and the other kinds do not")
    bases = [layer.module.get_base_layer().weight for layer in layers]
    turned = [bool(getattr(layer.module, "fan_in_fan_out", False)) for layer in layers]
    for layer, W in zip(layers, bases):
        if adapter in getattr(layer.module, "lora_embedding_A", {}):
            raise ValueError(f"module {layer.name} is an embedding; starts are for layers alone")
        if not W.is_floating_point() or W.ndim != 2:
            raise ValueError(f"module {layer.name}: its weight is {W.dtype} {tuple(W.shape)}; a matrix of floats is needed")
    gradients = _gradients(model, bases, loss) if loss else []
    shape = lambda W, t: _plain(W.T if t else W)
    weights = [shape(W.data, t) for W, t in zip(bases, turned)]
    started = _preheat.start(kind, weights, [shape(g, t) for g, t in zip(gradients, turned)], [layer.rank for layer in layers],
                             [float(layer.module.scaling[adapter]) for layer in layers], seed, thread_count(threads))
    for layer, W, t, changed, (A, B, *_) in zip(layers, bases, turned, weights, started):
        layer.set(A, B)
        if changed.data_ptr() != W.data_ptr() and kind != "orthogonal":
            W.data.copy_(changed.T if t else changed)
    return model


def _gradients(model: Any, weights: Sequence[Any], loss: Callable[[Any], Any]) -> list[Any]:
    """The gradient of loss(model) by the base's weights, which alone are trained meanwhile."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        for p, _, _ in before:
            p.grad = None
            p.requires_grad_(False)
        for W in weights:
            W.requires_grad_(True)
        with model.disable_adapter():
            loss(model).backward()
        missing = sum(W.grad is None for W in weights)
        if missing:
            raise ValueError(f"init_lora: the loss does not depend on {missing} of {len(weights)} layers")
        return [W.grad for W in weights]
    finally:
        for p, trained, grad in before:
            p.grad = grad
            p.requires_grad_(trained)
