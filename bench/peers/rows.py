"""The rows of `./run peers`: the inputs of each piece of work, what PyTorch and PEFT do with them, a reference in
double precision, and the mark to reach.

A training step is mostly products with frozen weights. How much faster than PEFT's it can be depends on how well
PyTorch's BLAS suits the processor, so its mark is its time over that of those products by our own BLAS."""
import os
import re

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import decoder
import encoder


class Peer:
    """What PyTorch does: run() is timed, reset() before it is not, result() gives tensors by name."""

    def __init__(self, name, run, result, reset=None, most_repeats=None, may_be_off=False):
        self.name, self.run, self.result, self.reset = name, run, result, reset
        self.most_repeats, self.may_be_off = most_repeats, may_be_off


class Row:
    """One piece of work. peers: a list of (Peer, ratio to reach by threads). error(result) compares with double."""

    def __init__(self, name, work, inputs, peers, error, tolerance, flops=None, check_runs=1, error_first=False,
                 bound=None, bound_name="two frozen products", most_turns=None):
        self.name, self.work, self.inputs, self.peers = name, work, inputs, peers
        self.error, self.tolerance, self.flops = error, tolerance, flops
        self.check_runs = check_runs    # runs of each side before the results are compared
        self.error_first = error_first  # random work: errors are medians, a ratio counts at equal or smaller error
        self.bound = bound              # (work, Peer, mark): the smaller work without which the row cannot be done,
        self.bound_name = bound_name    # what it is called, and the most that our time over its time may be
        self.most_turns = most_turns    # for work that takes long


def seeded(*shape, seed=0, scale=1.0):
    """The same numbers on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, device="cpu").to(torch.get_default_device())


def relative(x, reference):
    return float((x.double() - reference).norm() / reference.norm())


def adapted_linear(W, r, alpha, bias=None, **settings):
    """A PEFT model of one linear layer whose weight is W, without an adapter's dropout."""
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(W.shape[1], W.shape[0], bias=bias is not None)

        def forward(self, x):
            return self.fc(x)

    net = Net()
    net.fc.weight.data = W.clone()
    return get_peft_model(net, LoraConfig(r=r, lora_alpha=alpha, target_modules=["fc"], lora_dropout=0.0, **settings))


# ------------------------------------------------------------------------------------------------ training steps

def adapted_step(tokens, n, m, r, over_bound):
    W, X, dY = seeded(m, n, seed=1, scale=n ** -0.5), seeded(tokens, n, seed=2), seeded(tokens, m, seed=3)
    A, B, s = seeded(r, n, seed=4, scale=n ** -0.5), seeded(m, r, seed=5, scale=0.02), 2.0
    layer = adapted_linear(W, r, int(s * r)).base_model.model.fc
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    a.data, b.data = A.clone(), B.clone()
    x = X.clone().requires_grad_(True)
    made = {}

    def step():
        a.grad = b.grad = x.grad = None
        y = layer(x)
        y.backward(dY)
        made["Y"] = y

    def step_result():
        return {"Y": made["Y"].detach(), "dX": x.grad, "dA": a.grad, "dB": b.grad}

    def products():
        made["P"] = torch.mm(X, W.T), torch.mm(dY, W)

    def products_result():
        return {"Y": made["P"][0], "dX": made["P"][1]}

    reference = {}

    def error(result):
        if not reference:
            w, x64, d, a64, b64 = (t.double() for t in (W, X, dY, A, B))
            reference["Y"] = x64 @ w.T + s * (x64 @ a64.T) @ b64.T
            reference["dX"] = d @ w + s * (d @ b64) @ a64
            reference["dA"] = s * (d @ b64).T @ x64
            reference["dB"] = s * d.T @ (x64 @ a64.T)
        return max(relative(result[k], reference[k]) for k in reference)

    return Row(f"adapted step, N{tokens} {n}→{m} r{r}", "adapted_step",
               {"W": W, "X": X, "dY": dY, "A": A, "B": B, "scaling": torch.tensor(s)},
               [(Peer("PEFT", step, step_result), {})], error, 1e-4,
               flops=4.0 * tokens * m * n + 6.0 * tokens * r * (m + n),
               bound=("frozen_products", Peer("two products", products, products_result), over_bound))


def adamw(rows=3200, cols=3125):
    p, g = seeded(rows, cols, seed=1), seeded(rows, cols, seed=2)
    parameter = torch.nn.Parameter(p.clone())
    parameter.grad = g
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01, fused=True)
    runs = 3

    def error(result):
        q, m, v = p.double(), 0, 0
        for t in range(1, runs + 1):
            d = g.double()
            m, v = 0.9 * m + 0.1 * d, 0.999 * v + 0.001 * d * d
            q = q * (1 - 1e-3 * 0.01) - 1e-3 * (m / (1 - 0.9 ** t)) / ((v / (1 - 0.999 ** t)).sqrt() + 1e-8)
        return relative(result["p"], q)

    return Row(f"AdamW, {rows * cols * 1e-6:.0f} M parameters", "adamw", {"p": p, "g": g},
               [(Peer("torch fused", optimizer.step, lambda: {"p": parameter.detach()}), {1: 1.05})], error, 1e-5,
               check_runs=runs)


def gelu():
    z = seeded(1024, 3072, seed=1)
    out = {}

    def run():
        x = z.clone().requires_grad_(True)
        h = torch.nn.functional.gelu(x)
        h.backward(torch.ones_like(h))
        out.update(h=h.detach(), d=x.grad)

    def error(result):
        x = z.double()
        cdf = 0.5 * (1 + torch.erf(x * 0.5 ** 0.5))
        return max(relative(result["h"], x * cdf),
                   relative(result["d"], cdf + x * torch.exp(-x * x / 2) * (2 * torch.pi) ** -0.5))

    return Row("GELU and its gradient, 1024×3072", "gelu", {"z": z}, [(Peer("torch", run, lambda: out), {})], error,
               1e-5)


def mlp_step(tokens=256, shuffled=False):
    """`shuffled`: every step gathers all tokens in a new order, which changes nothing of its result but rounding."""
    widths, r, runs = (1024, 4096, 1024), 8, 3
    given = {"X": seeded(tokens, widths[0], seed=1), "target": seeded(tokens, widths[2], seed=2),
             "batch": torch.tensor(float(tokens if shuffled else 0))}
    for l in range(2):
        scale = widths[l] ** -0.5
        given[f"W{l}"] = seeded(widths[l + 1], widths[l], seed=3 + l, scale=scale)
        given[f"b{l}"] = seeded(widths[l + 1], seed=5 + l, scale=scale)
        given[f"A{l}"] = seeded(r, widths[l], seed=7 + l, scale=scale)

    def network(dtype):
        net = torch.nn.Sequential(torch.nn.Linear(widths[0], widths[1]), torch.nn.GELU(),
                                  torch.nn.Linear(widths[1], widths[2]))
        model = get_peft_model(net, LoraConfig(r=r, lora_alpha=2 * r, target_modules=["0", "2"], lora_dropout=0.0))
        layers = [model.base_model.model[i] for i in (0, 2)]
        for l, layer in enumerate(layers):
            layer.base_layer.weight.data = given[f"W{l}"].clone()
            layer.base_layer.bias.data = given[f"b{l}"].clone()
            layer.lora_A["default"].weight.data = given[f"A{l}"].clone()
        model = model.to(given["X"].device, dtype)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01, fused=True)
        X, target = given["X"].to(dtype), given["target"].to(dtype)

        def step():
            optimizer.zero_grad(set_to_none=True)
            order = torch.randperm(tokens, device=X.device) if shuffled else slice(None)
            torch.nn.functional.mse_loss(model(X[order]), target[order]).backward()
            optimizer.step()

        def result():
            factors = {}
            for l, layer in enumerate(layers):
                factors[f"A{l}"] = layer.lora_A["default"].weight.detach()
                factors[f"B{l}"] = layer.lora_B["default"].weight.detach()
            return factors

        return step, result

    def error(result):
        step, exact = network(torch.float64)
        for _ in range(runs):
            step()
        return max(relative(result[k], x) for k, x in exact().items())

    W0, W1 = given["W0"], given["W1"]

    def products():
        torch.mm(torch.mm(given["X"], W0.T), W1.T)
        torch.mm(given["target"], W1)

    step, result = network(torch.float32)
    mn = widths[0] * widths[1]
    thin = 6.0 * tokens * r * 2 * (widths[0] + widths[1]) - 2.0 * tokens * r * widths[0]
    return Row("MLP training step, 1024-4096-1024 r8", "mlp_step", given, [(Peer("PEFT", step, result), {})],
               error, 1e-2, flops=6.0 * tokens * mn + thin, check_runs=runs,
               bound=("mlp_products", Peer("three products", products, lambda: {}), 1.10),
               bound_name="three frozen products")


# ------------------------------------------------------------------------------------------------- factorizations

def weight_of_spectrum(m, n, spectrum, folder):
    """A weight, and its first 16 singular values in double; kept in a file, for large ones take long."""
    path = os.path.join(folder, f"weight_{m}x{n}_{spectrum}.safetensors")
    if not os.path.exists(path):
        k = min(m, n)
        if spectrum == "random":
            W = seeded(m, n, seed=1)
            small = W.double() if m >= n else W.double().T
            sigma = torch.linalg.eigvalsh(small.T @ small).flip(0)[:16].sqrt()
        else:
            sigma = torch.arange(1, k + 1).double() ** -0.5
            left, right = (torch.linalg.qr(seeded(size, k, seed=size % 7 + i))[0]
                           for i, size in enumerate((m, n)))
            W, sigma = (left * sigma.float()) @ right.T, sigma[:16].clone()
        save_file({"W": W.contiguous(), "sigma": sigma.contiguous()}, path)
    return {name: tensor.to(torch.get_default_device()) for name, tensor in load_file(path).items()}


def pissa(m, n, spectrum, reach, folder):
    r, s = 16, 2.0
    kept = weight_of_spectrum(m, n, spectrum, folder)
    W = kept["W"]
    layer = adapted_linear(W, r, int(s * r)).base_model.model.fc

    def reset():
        layer.base_layer.weight.data = W.clone()

    def run():
        layer.pissa_init("default", "pissa_niter_16")

    def result():
        return {"A": layer.lora_A["default"].weight.detach(), "B": layer.lora_B["default"].weight.detach()}

    def error(result):
        sigma = s * result["A"].double().norm(dim=1) * result["B"].double().norm(dim=0)
        return float(((sigma - kept["sigma"]) / kept["sigma"]).abs().max())

    return Row(f"PiSSA, {m}×{n} r{r}, {spectrum}", "pissa",
               {"W": W, "rank": torch.tensor(float(r)), "scaling": torch.tensor(s)},
               [(Peer("PEFT niter 16", run, result, reset), reach)], error, 0.2, error_first=True)


def preheated(m, n, R):
    """Factors as preheating leaves them: B trained from zero by a few steps towards a target of falling spectrum and
    half the rank. The other half of B is noise, so its condition number is large."""
    k = R // 2
    sigma = torch.arange(1, k + 1, dtype=torch.float32) ** -1.0
    left, right = (torch.linalg.qr(seeded(size, k, seed=20 + i))[0] for i, size in enumerate((m, n)))
    A, B = seeded(R, n, seed=22, scale=n ** -0.5), torch.zeros(m, R)
    for step in range(4):
        noise = seeded(m, R, seed=30 + step, scale=1e-4 / m)
        B = B - 0.3 * ((B @ A) @ A.T - (left * sigma) @ (right.T @ A.T) + noise)
    return B.contiguous(), A


def extraction(m, n, R, factors, reach_qr, reach_gram, reach_peft=None, peft_repeats=1):
    r = 16
    B, A = preheated(m, n, R) if factors == "preheated" else (seeded(m, R, seed=1), seeded(R, n, seed=2))
    made = {}

    def by_qr():
        Qb, Rb = torch.linalg.qr(B)
        Qa, Ra = torch.linalg.qr(A.T)
        u, S, vh = torch.linalg.svd(Rb @ Ra.T)
        made["qr"] = Qb @ u[:, :r], S[:r], Qa @ vh[:r].T

    def by_gram():
        Lb, La = torch.linalg.cholesky(B.T @ B), torch.linalg.cholesky(A @ A.T)
        core = Lb.T @ La
        values, vectors = torch.linalg.eigh(core.T @ core)
        S, v = values[-r:].flip(0).clamp_min(0).sqrt(), vectors[:, -r:].flip(1)
        u = (core @ v) / S
        made["gram"] = (B @ torch.linalg.solve_triangular(Lb.T, u, upper=True), S,
                        A.T @ torch.linalg.solve_triangular(La.T, v, upper=True))

    def result_of(form):
        return lambda: dict(zip("USV", made[form]))

    peers = [(Peer("torch QR", by_qr, result_of("qr")), reach_qr),
             (Peer("torch Gram", by_gram, result_of("gram"), may_be_off=True), reach_gram)]
    if reach_peft is not None:
        model = adapted_linear(torch.zeros(m, n), R, R)
        model.add_adapter("second", LoraConfig(r=R, lora_alpha=R, target_modules=["fc"]))
        layer = model.base_model.model.fc
        for name in ("default", "second"):
            layer.lora_A[name].weight.data, layer.lora_B[name].weight.data = A.clone(), B.clone()

        def reset():
            if "small" in layer.lora_A:
                model.delete_adapter("small")

        def by_peft():
            model.add_weighted_adapter(["default", "second"], [0.5, 0.5], "small", combination_type="svd", svd_rank=r)

        def peft_result():
            b, a = layer.lora_B["small"].weight.detach(), layer.lora_A["small"].weight.detach()
            S = b.norm(dim=0)
            return {"U": b / S, "S": S * layer.scaling["small"], "V": a.T}

        peers.append((Peer("PEFT", by_peft, peft_result, reset, most_repeats=peft_repeats), reach_peft))

    Rb, Ra = torch.linalg.qr(B.double(), mode="r")[1], torch.linalg.qr(A.double().T, mode="r")[1]
    sigma = torch.linalg.svdvals(Rb @ Ra.T)[:r]

    def error(result):
        """Of the singular values and of the orthogonality of both sides, relative to the largest."""
        of_sigma = float((result["S"].double().flatten() - sigma).abs().max() / sigma[0])
        one = torch.eye(r, dtype=torch.float64)
        of_sides = max(float((Q.double().T @ Q.double() - one).abs().max()) for Q in (result["U"], result["V"]))
        return max(of_sigma, of_sides)

    return Row(f"extraction, {m}×{n} R{R}→{r}, {factors}", "extraction",
               {"B": B, "A": A.contiguous(), "rank": torch.tensor(float(r))}, peers, error, 1e-4,
               flops=float(R) * (R + 2 * r) * (m + n))


# ---------------------------------------------------------------------------------------------------------- lists

def all_rows(folder):
    """Names with the functions that make the rows, in the order of the table; and the names of the short form."""
    makers = {}
    for shape in ((512, 768, 768, 8, 1.10), (512, 4096, 4096, 16, 1.05), (2048, 768, 3072, 16, 1.10)):
        tokens, n, m, r, _ = shape
        makers[f"adapted step, N{tokens} {n}→{m} r{r}"] = lambda shape=shape: adapted_step(*shape)
    for m, n, reach in ((768, 768, {1: 3.5}), (768, 3072, {1: 3.0}), (4096, 4096, {1: 2.0})):
        for spectrum in ("random", "decaying"):
            makers[f"PiSSA, {m}×{n} r16, {spectrum}"] = lambda a=(m, n, spectrum, reach): pissa(*a, folder)
    for m, n, R, reach, peft, repeats in ((768, 768, 64, {1: 3.0}, {}, 3), (4096, 4096, 128, {1: 4.0}, {1: 1000.0}, 1),
                                          (11008, 4096, 256, {1: 4.0}, None, 0)):
        for factors in ("random", "preheated"):
            of_peft = peft if factors == "random" else None  # a dense SVD takes as long for either
            makers[f"extraction, {m}×{n} R{R}→16, {factors}"] = (
                lambda a=(m, n, R, factors, reach, {1: 1.8}, of_peft, repeats): extraction(*a))
    makers["AdamW, 10 M parameters"] = adamw
    makers["GELU and its gradient, 1024×3072"] = gelu
    makers["MLP training step, 1024-4096-1024 r8"] = mlp_step
    makers[encoder.NAME] = lambda: encoder.encoder_row(Row, Peer, 1.15)
    makers[decoder.NAME] = lambda: decoder.decoder_row(Row, Peer, decoder.NAME, decoder.SMOLLM2, {1: 1.3, 2: 1.3}, 1.25)
    makers[decoder.TINY_NAME] = lambda: decoder.decoder_row(Row, Peer, decoder.TINY_NAME, decoder.TINY, {}, None)
    short = [name for name in makers if not re.search(r"4096→|→3072|×3072 r|4096 r|×4096|\bGELU|SmolLM2", name)]
    return makers, short
