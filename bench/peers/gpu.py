#!/usr/bin/env python3
"""preheat beside PyTorch and PEFT on one GPU: the same work on the same numbers, in alternation.

One process runs PyTorch, a child runs preheat; they take turns on the same card. A time is the device's between two
events, the L2 cache flushed before; "clock" is the host's time of runs back to back, which shows who waits for the host.
Both sides compute in fp32, both in tf32, or both in bf16 with factors in
fp32 (PEFT's in bf16 too, which is faster). Large decoders run one side after the other. Errors are those against double precision. "over floor" is our time over
the least that the work can take on this card: its operations at the rate of a large product, or its bytes at the rate
of a large copy, both measured here. Without a device it says so and exits with 77. Exit status 1: results disagree.
"""
import argparse
import csv
import os
import re
import statistics
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
parser = argparse.ArgumentParser(prog="./run peers --gpu", description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", metavar="REGEX", default="", help="only rows whose name matches")
parser.add_argument("--repeats", metavar="N", type=int, default=9, help="turns of each side (9)")
parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), action="append",
                    help="only this one (all)")
parser.add_argument("--compiled", action="store_true",
                    help="encoders beside torch.compile too, plain and in CUDA graphs; minutes of compiling")
parser.add_argument("--list", action="store_true", help="print the names of the rows")
parser.add_argument("--out", metavar="FOLDER", default=os.path.join(ROOT, "results"), help="where gpu_peers.csv goes")
parser.add_argument("--program", default=os.path.join(ROOT, "build", "bench", "bench", "cuda", "preheat_gpu_peers"),
                    help=argparse.SUPPRESS)
options = parser.parse_args()
precisions = options.precision or ["fp32", "tf32", "bf16"]


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


try:
    import torch
    from safetensors.torch import load_file, save_file
except ImportError as problem:
    skip(f"{sys.executable} has no PyTorch ({problem}); PREHEAT_GPU_PYTHON names a Python that has it, with PEFT")
if not torch.cuda.is_available():
    skip("PyTorch sees no CUDA device")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bf16_decoder  # noqa: E402
import decoder  # noqa: E402
import encoder  # noqa: E402
import rows as row_list  # noqa: E402
from child import Child  # noqa: E402
from rows import Peer, Row  # noqa: E402

GPU = torch.device("cuda")
# Random weights in fp32, like all rows. Llama-3.1-8B is missing: two copies of it in fp32 fill the card.
LLAMA_1B = {"layers": 16, "heads": 32, "key_value_heads": 8, "hidden": 2048, "wide": 8192, "vocab": 128256,
            "positions": 4096, "sequences": 1, "length": 2048}
DECODERS = [("decoder step, SmolLM2-135M, 4×256 tokens r8", decoder.SMOLLM2, ("sdpa", "eager")),
            ("decoder step, SmolLM2-135M, 4×2048 tokens r8", dict(decoder.SMOLLM2, length=2048), ("sdpa",)),
            ("decoder step, Llama-3.2-1B, 1×2048 tokens r8", LLAMA_1B, ("sdpa",))]


class Stopwatch:
    """The device's time of a piece of PyTorch's work, as bench/cuda/stopwatch.hpp takes ours."""

    def __init__(self):
        self.flush = torch.empty(256 << 20, dtype=torch.uint8, device=GPU)
        self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def milliseconds(self, run):
        self.flush.zero_()
        self.begin.record()
        run()
        self.end.record()
        self.end.synchronize()
        return self.begin.elapsed_time(self.end)

    def of(self, peer, count):
        """Device and wall milliseconds of one of `count` runs."""
        device, wall = 0.0, 0.0
        for _ in range(count):
            if peer.reset:
                peer.reset()
            device += self.milliseconds(peer.run)
        torch.cuda.synchronize()
        for _ in range(count):
            if peer.reset:
                peer.reset()
                torch.cuda.synchronize()
            begun = time.perf_counter()
            peer.run()
            torch.cuda.synchronize()
            wall += time.perf_counter() - begun
        return device / count, 1e3 * wall / count


def measured_ceilings(watch, dtype):
    """Operations and bytes a millisecond of a large product and of a large copy."""
    a, b = (torch.randn(8192, 8192, device=GPU).to(dtype) for _ in range(2))
    x, y = torch.empty(1 << 28, device=GPU), torch.randn(1 << 28, device=GPU)
    for work in (lambda: torch.mm(a, b), lambda: x.copy_(y)):
        watch.milliseconds(work)
    product = statistics.median(watch.milliseconds(lambda: torch.mm(a, b)) for _ in range(5))
    copy = statistics.median(watch.milliseconds(lambda: x.copy_(y)) for _ in range(5))
    return 2.0 * 8192 ** 3 / product, 8.0 * (1 << 28) / copy


def encoder_row(name, shape, dtype=torch.float32):
    given = encoder.inputs(shape)
    given = {k: t.to(GPU) for k, t in given.items()}
    peers = [("PEFT", None)]
    if options.compiled:
        peers += [("PEFT compiled", "default"), ("PEFT in graphs", "reduce-overhead")]
    models = [(label, encoder.Model(given, dtype, shape, mode)) for label, mode in peers]
    flops = encoder.frozen_products(given, shape)[1]
    return Row(name, "encoder_step", given, [(Peer(label, m.step, m.result), {}) for label, m in models],
               encoder.error_function(given, shape, together=True), 1e-3 if dtype == torch.float32 else 0.1, flops=flops)


def decoder_row(name, shape, attention=("sdpa", "eager")):
    with torch.device("cpu"):  # where its random numbers are drawn
        given = decoder.inputs(shape)
        flops = decoder.frozen_products(given, shape)[1]
    given = {k: t.to(GPU) for k, t in given.items()}
    models = [(f"PEFT {kind}", decoder.Model(given, shape=shape, attention=kind)) for kind in attention]
    return Row(name, "decoder_step", given, [(Peer(label, m.step, m.result), {}) for label, m in models],
               decoder.error_function(given, shape), 1e-3, flops=flops)


def bf16_step(tokens, n, m, r):
    """A layer with W and activations in bf16; the row's inputs are rounded numbers."""
    W, X, dY = (row_list.seeded(*size, seed=seed, scale=scale).bfloat16() for size, seed, scale in
                (((m, n), 1, n ** -0.5), ((tokens, n), 2, 1.0), ((tokens, m), 3, 1.0)))
    A, B = row_list.seeded(r, n, seed=4, scale=n ** -0.5), row_list.seeded(m, r, seed=5, scale=0.02)
    peers = []
    for label, kind in (("PEFT, bf16 factors", torch.bfloat16), ("PEFT, fp32 factors", torch.float32)):
        layer = row_list.adapted_linear(W, r, 2 * r).base_model.model.fc
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        a.data, b.data = A.to(kind), B.to(kind)
        x, made = X.clone().requires_grad_(True), {}

        def step(layer=layer, a=a, b=b, x=x, made=made):
            a.grad = b.grad = x.grad = None
            with torch.autocast("cuda", torch.bfloat16, enabled=a.dtype == torch.float32):
                made["Y"] = layer(x)
            made["Y"].backward(dY)

        def result(a=a, b=b, x=x, made=made):
            return {"Y": made["Y"].detach(), "dX": x.grad, "dA": a.grad, "dB": b.grad}

        peers.append((Peer(label, step, result), {}))

    def error(result):
        w, x, d, a, b = (t.double() for t in (W, X, dY, A, B))
        exact = {"Y": x @ w.T + 2 * (x @ a.T) @ b.T, "dX": d @ w + 2 * (d @ b) @ a, "dA": 2 * (d @ b).T @ x,
                 "dB": 2 * d.T @ (x @ a.T)}
        return max(row_list.relative(result[k], t) for k, t in exact.items())

    given = {"W": W, "X": X, "dY": dY, "A": A, "B": B, "scaling": torch.tensor(2.0)}
    return Row(f"adapted step, N{tokens} {n}→{m} r{r}", "adapted_step", given, peers, error, 2e-2,
               flops=2.0 * tokens * (2 * m * n + 3 * r * (m + n)))


def with_bytes(row, count):
    row.bytes = count
    return row


def all_rows(folder):
    """Names with the functions that make the rows; a function is told whether products are in tf32."""
    def step(tokens, n, m, r):
        return lambda tf32: row_list.adapted_step(tokens, n, m, r, None)
    makers = {"adapted step, N4096 4096→4096 r16": step(4096, 4096, 4096, 16),
              "adapted step, N4096 768→768 r16": step(4096, 768, 768, 16),
              "MLP step, 1024-4096-1024 r8, 256 tokens": lambda tf32: row_list.mlp_step(256),
              "MLP step, 1024-4096-1024 r8, 4096 tokens": lambda tf32: row_list.mlp_step(4096),
              "MLP step, shuffled, 1024-4096-1024 r8, 4096 tokens": lambda tf32: row_list.mlp_step(4096, shuffled=True),
              "encoder step, MiniLM, 8×128 tokens r8":
                  lambda tf32: encoder_row("encoder step, MiniLM, 8×128 tokens r8", encoder.MINILM),
              "encoder step, base, 32×128 tokens r8":
                  lambda tf32: encoder_row("encoder step, base, 32×128 tokens r8", encoder.BASE)}
    for name, shape, attention in DECODERS:
        makers[name] = lambda tf32, name=name, shape=shape, attention=attention: decoder_row(name, shape, attention)
    for factors in ("random", "preheated"):
        makers[f"extraction, 4096×4096 R128→16, {factors}"] = (
            lambda tf32, factors=factors: row_list.extraction(4096, 4096, 128, factors, {}, {}))
    makers["PiSSA (Krylov), 4096×4096 r16"] = lambda tf32: row_list.pissa(4096, 4096, "decaying", {}, folder)
    for rows, cols in ((3200, 3125), (10000, 10000)):
        makers[f"AdamW, {rows}×{cols}"] = (
            lambda tf32, rows=rows, cols=cols: with_bytes(row_list.adamw(rows, cols), 28.0 * rows * cols))
    return makers


def bf16_rows():
    """Of one layer, and encoders, all of PEFT's in bf16: these take turns, as all rows above do."""
    return {**{f"encoder step, {kind} r8": lambda tf32, kind=kind, shape=shape: encoder_row(f"encoder step, {kind} r8", shape,
                                                                                           torch.bfloat16)
               for kind, shape in (("MiniLM, 8×128 tokens", encoder.MINILM), ("base, 32×128 tokens", encoder.BASE))},
            "adapted step, N4096 4096→4096 r16": lambda tf32: bf16_step(4096, 4096, 4096, 16),
            "adapted step, N4096 768→768 r16": lambda tf32: bf16_step(4096, 768, 768, 16)}


class OutputFile:
    """What our program has saved."""

    def __init__(self, path):
        self.path = path

    def __call__(self):
        return load_file(self.path)


def bf16_decoder_rows(names, scratch, watch):
    given, output = (os.path.join(scratch, f"decoder_{part}.safetensors") for part in ("in", "out"))

    def save(tensors):
        save_file({k: t.cpu().contiguous() for k, t in tensors.items()}, given)
        return given

    for name in names:
        begun = time.perf_counter()
        lines = bf16_decoder.row(name, lambda: Child(options.program + "_bf16", threads=None), watch, save,
                                 OutputFile(output), options.repeats, options.compiled)
        wrong = [f"{name}, bf16: ours has error {line['error_ours']:.1e}" for line in lines
                 if not line.get("error_ours", 0) <= 0.1]
        yield name, lines, wrong, time.perf_counter() - begun


def run_row(name, make, precision, child, watch, ceilings, scratch):
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    with GPU:
        row = make(tf32)
    given, output = (os.path.join(scratch, f"{part}.safetensors") for part in ("in", "out"))
    save_file({k: t.cpu().contiguous() for k, t in row.inputs.items()}, given)
    child.ask(f"precision {precision}")
    child.ask(f"prepare {row.work} {given}")

    def error_of(result):
        with GPU:
            torch.backends.cuda.matmul.allow_tf32 = False
            e = row.error({k: t.to(GPU) for k, t in result.items()})
            torch.backends.cuda.matmul.allow_tf32 = tf32
        return e

    child.ask(f"check {row.check_runs}")
    child.ask(f"save {output}")
    errors, problems = [error_of(load_file(output))], {}
    for i, (peer, _) in enumerate(row.peers):
        try:
            for _ in range(row.check_runs):
                if peer.reset:
                    peer.reset()
                peer.run()
            errors.append(error_of(peer.result()))
            for _ in range(2):
                if peer.reset:
                    peer.reset()
                peer.run()
            torch.cuda.synchronize()
        except Exception as problem:  # noqa: BLE001  (a peer that cannot do this work is a line of the table)
            problems[i] = str(problem).split("\n")[0][:60]
            errors.append(None)
    child.run(2)

    peers = [i for i in range(len(row.peers)) if i not in problems]
    once = child.run(1)[0]
    count = max(1, min(20, round(20 / max(once, 0.05))))
    ours, theirs = [], {i: [] for i in peers}
    for _ in range(options.repeats):
        ours.append(child.run(count))
        for i in peers:
            theirs[i].append(watch.of(row.peers[i][0], count))

    def median(times):
        return [statistics.median(t[k] for t in times) for k in (0, 1)]

    floor = max((row.flops or 0) / ceilings[0], getattr(row, "bytes", 0) / ceilings[1])
    broken = []
    if not errors[0] <= (max(row.tolerance, 2e-2) if precision != "fp32" else row.tolerance):
        broken.append(f"{row.name}, {precision}: ours has error {errors[0]:.1e}")
    lines = []
    our_device, our_wall = median(ours)
    for i, (peer, _) in enumerate(row.peers):
        line = {"row": name, "precision": precision, "peer": peer.name, "ours_ms": our_device, "ours_clock_ms": our_wall,
                "error_ours": errors[0], "error_peer": errors[1 + i], "floor_ms": floor or None,
                "over_floor": our_device / floor if floor else None, "note": problems.get(i, "")}
        if i in theirs:
            line["peer_ms"], line["peer_clock_ms"] = median(theirs[i])
            ratios = [t[0] / o[0] for t, o in zip(theirs[i], ours)]
            line["ratio"] = statistics.median(ratios)
            line["clock_ratio"] = statistics.median(t[1] / o[1] for t, o in zip(theirs[i], ours))
            quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
            line["spread_low"], line["spread_high"] = quarters[0], quarters[2]
        lines.append(line)
    return lines, broken


COLUMNS = ["row", "precision", "peer", "ours_ms", "peer_ms", "ratio", "spread_low", "spread_high", "ours_clock_ms",
           "peer_clock_ms", "clock_ratio", "ours_gb", "peer_gb", "error_ours", "error_peer", "floor_ms", "over_floor", "note"]


def shown(column, value):
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) else f"{value:.1e}" if column.startswith("error") else f"{value:.3g}"


def main():
    with tempfile.TemporaryDirectory() as scratch:
        makers = {n: m for n, m in all_rows(scratch).items() if re.search(options.rows, n)}
        bf16_makers, decoders = ({n: m for n, m in rows.items() if re.search(options.rows, n)}
                                 for rows in (bf16_rows(), bf16_decoder.SHAPES))
        if options.list:
            print("\n".join([*makers, *(f"{n}, bf16" for n in (*bf16_makers, *decoders))]))
            return 0
        if not makers and not bf16_makers and not decoders:
            print(f"no row matches {options.rows!r}; ./run peers --gpu --list names them", file=sys.stderr)
            return 2
        watch = Stopwatch()
        wider = [p for p in precisions if p != "bf16"]
        child = Child(options.program if wider else options.program + "_bf16", threads=None)
        print(f"card:  {torch.cuda.get_device_name()}")
        print(f"ours:  {child.about}")
        print(f"peers: torch {torch.__version__}; {options.repeats} turns", flush=True)
        lines, broken, ceilings = [], [], {}
        for precision in precisions:
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            ceilings[precision] = measured_ceilings(watch, torch.bfloat16 if precision == "bf16" else torch.float32)
            print(f"ceilings, {precision}: {1e-9 * ceilings[precision][0]:.0f} TFLOP/s, "
                  f"{1e-9 * ceilings[precision][1]:.2f} TB/s", flush=True)
        def keep(name, precision, more, wrong, seconds):
            lines.extend(more)
            broken.extend(wrong)
            for line in more:
                print(f"  {name}, {precision}, {line['peer']}: ours {line['ours_ms']:.3f} ms, "
                      f"{shown('', line.get('peer_ms'))} ms, ratio {shown('', line.get('ratio'))} ({seconds:.0f} s)",
                      file=sys.stderr, flush=True)
            torch.cuda.empty_cache()

        def take_turns(name, make, precision, child):
            begun = time.perf_counter()
            try:
                more, wrong = run_row(name, make, precision, child, watch,
                                      ceilings.get(precision, ceilings[precisions[0]]), scratch)
            except Exception as problem:  # noqa: BLE001  (the other rows are still worth having)
                more, wrong = [], [f"{name}, {precision}: {problem}"]
            keep(name, precision, more, wrong, time.perf_counter() - begun)

        for name, make in makers.items():
            for precision in wider if re.search("step", name) else wider[:1]:
                take_turns(name, make, precision, child)
        if "bf16" in precisions:
            child.close()
            if bf16_makers:
                child = Child(options.program + "_bf16", threads=None)
                for name, make in bf16_makers.items():
                    take_turns(name, make, "bf16", child)
                child.close()
            for name, more, wrong, seconds in bf16_decoder_rows(decoders, scratch, watch):
                keep(name, "bf16", more, wrong, seconds)
        print("\n| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
        for line in lines:
            print("| " + " | ".join(shown(c, line.get(c)) for c in COLUMNS) + " |")
        os.makedirs(options.out, exist_ok=True)
        with open(os.path.join(options.out, "gpu_peers.csv"), "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(lines)
        for problem in broken:
            print("DISAGREE:", problem)
        return 1 if broken else 0


sys.exit(main())
