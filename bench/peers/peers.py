#!/usr/bin/env python3
"""preheat beside PyTorch and PEFT: the same work on the same numbers, in alternation.

One process runs PyTorch, a child runs preheat; they take turns run by run, one thread each, and the CPU time of a run
counts (wall time with --threads 2). The ratio is the median over the turns of (theirs / ours), the spread its
interquartile range; a row "over ... products" gives our time over that of the products with frozen weights alone, and
the limit beside a ratio is what a step would reach that cost nothing beside those products. Both results are compared
with a reference in double precision. Exit status 1: results disagree. A ratio that misses its mark is printed, never
an error.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLES = """examples:
  ./run peers                                   every row; fifteen minutes of processor time
  ./run peers --quick                           the short form, a minute of it
  ./run peers --rows 'adapted step' --repeats 31
  ./run peers --rows 'adapted step|MLP' --threads 2
  ./run peers --builds                          ours alone: what each compiler and BLAS is worth
"""
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
FOLDER = os.path.join(ROOT, "build", "peers")


def arguments():
    parser = argparse.ArgumentParser(prog="./run peers", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="REGEX", default="", help="only rows, or builds, whose name matches")
    parser.add_argument("--repeats", metavar="N", type=int, help="turns of each side (15; 7 with --quick)")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="threads of each side; N > 1: wall time")
    parser.add_argument("--blas-threads", action="store_true",
                        help="with --threads N: leave ours to the threads of the BLAS, to see what the library's own are worth")
    parser.add_argument("--quick", action="store_true", help="the short form: small shapes, few turns")
    parser.add_argument("--builds", action="store_true", help="compare builds of preheat instead of peers")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--out", metavar="FOLDER", default=os.path.join(ROOT, "results"),
                        help="where peers.csv and peers.svg go (results/)")
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "bench", "bench", "preheat_peers"),
                        help=argparse.SUPPRESS)
    parser.add_argument("--finetune", default=os.path.join(ROOT, "build", "release", "apps", "finetune", "preheat-finetune"),
                        help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = os.path.abspath(options.out)
    options.repeats = options.repeats or (7 if options.quick else 15)
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    return options


options = arguments()
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)

import torch  # noqa: E402  (after --help, which is then quick)
from safetensors.torch import load_file, save_file  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import decoder  # noqa: E402
import encoder  # noqa: E402
import rows as row_list  # noqa: E402
import trainer  # noqa: E402
from child import Child  # noqa: E402
from report import add_shares, brief, print_table, write_csv, write_svg  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(0)


class Ours:
    """Work of the C++ program."""
    most_repeats = None

    def __init__(self, work, inputs, scratch, program=None):
        self.name, self.output = work, os.path.join(scratch, f"{work}.out.safetensors")
        path = os.path.join(scratch, f"{work}.in.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, path)
        self.child = Child(program or options.program, options.threads, options.blas_threads)
        self.child.ask(f"prepare {work} {path}")

    def time(self, count):
        return self.child.run(count)

    def result(self):
        self.child.ask(f"save {self.output}")
        return load_file(self.output)


class Theirs:
    """Work of PyTorch in this process."""

    def __init__(self, peer):
        self.peer, self.name, self.most_repeats, self.result = peer, peer.name, peer.most_repeats, peer.result

    def time(self, count):
        cpu = wall = 0.0
        for _ in range(count):
            if self.peer.reset:
                self.peer.reset()
            cpu_begun, wall_begun = time.process_time(), time.perf_counter()
            self.peer.run()
            wall += time.perf_counter() - wall_begun
            cpu += time.process_time() - cpu_begun
        return 1e3 * cpu / count, 1e3 * wall / count


def take_turns(contenders, repeats, row=None):
    """Times of every contender, in milliseconds, by turns; errors of every turn where a row's errors vary."""
    clock = 0 if options.threads == 1 else 1
    times, errors, counts = [[] for _ in contenders], [[] for _ in contenders], []
    for c in contenders:
        last = 0.0 if c.most_repeats == 1 else c.time(1)[clock]  # the check has warmed the rest
        counts.append(max(1, min(50, round(25 / max(last, 0.1)))) if last else 1)
    for turn in range(repeats):
        for i, c in enumerate(contenders):
            if c.most_repeats is None or turn < c.most_repeats:
                if options.threads > 1:
                    time.sleep(0.03)  # PyTorch's threads go on spinning for 10 ms, on the other's processors
                times[i].append(c.time(counts[i])[clock])
                if row is not None and row.error_first:
                    errors[i].append(row.error(c.result()))
    return times, errors


def quartiles(values):
    if len(values) < 3:
        return None
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[2]


def compared(above, below):
    """The median of the ratios turn by turn, and their quartiles."""
    ratios = [a / b for a, b in zip(above, below)]
    return statistics.median(ratios), quartiles(ratios)


class Peak:
    """The highest peak of the processor that was seen, in GFLOP/s of all threads that a side has.

    It is measured again before every row: a core that another program shares is slower for as long as that one works,
    and one measurement at such a moment would make all shares too large."""

    def __init__(self):
        self.gflops, self.loop = 0.0, ""

    def measure(self):
        child = Child(options.program, options.threads, options.blas_threads)
        gflops, loop = child.ask("peak").split(" ", 1)
        if options.threads * float(gflops) > self.gflops:
            self.gflops, self.loop = options.threads * float(gflops), loop
        child.close()
        return child.about


def measure(row, scratch):
    """The lines of the table that one row gives, and whether the results agree."""
    ours = Ours(row.work, row.inputs, scratch)
    contenders, problems, broken = [ours], {}, []
    for peer, _ in row.peers:
        contenders.append(Theirs(peer))
    if row.bound:
        contenders += [Ours(row.bound[0], row.inputs, scratch), Theirs(row.bound[1])]
    errors = []
    for i, c in enumerate(contenders):
        if i > len(row.peers):
            c.time(1)
            continue
        try:
            if c.most_repeats == 1:
                errors.append(None)  # too slow to run twice: checked after its only turn
                continue
            for _ in range(row.check_runs):
                c.time(1)
            errors.append(row.error(c.result()))
        except torch.linalg.LinAlgError as problem:
            problems[i] = str(problem).split(":")[0].split(".")[-1].strip() or "failed"
            errors.append(float("inf"))
    timed = [i for i in range(len(contenders)) if i not in problems]
    turns = min(options.repeats, row.most_turns or options.repeats)
    some_times, some_errors = take_turns([contenders[i] for i in timed], turns, row)
    times = dict(zip(timed, some_times))
    for i, seen in zip(timed, some_errors):
        if i <= len(row.peers):
            if seen:
                errors[i] = statistics.median(seen)
            elif errors[i] is None:
                errors[i] = row.error(contenders[i].result())

    if not errors[0] <= row.tolerance:
        broken.append(f"{row.name}: ours has error {errors[0]:.1e}, allowed {row.tolerance:.0e}")
    median = {i: statistics.median(times[i]) for i in timed}
    gflops = {i: 1e-6 * row.flops / median[i] if row.flops else None for i in median}
    lines = []
    for i, (peer, reach) in enumerate(row.peers, 1):
        line = {"row": row.name, "peer": peer.name, "threads": options.threads, "ours_ms": median[0],
                "error_ours": errors[0], "error_peer": errors[i] if i not in problems else None, "gflops_ours": gflops[0],
                "reach": reach.get(options.threads)}
        lines.append(line)
        if not errors[i] <= row.tolerance:
            line["note"] = f"peer off: {problems.get(i, 'inaccurate')}"
            if peer.may_be_off:
                line["reach"] = None
            else:
                broken.append(f"{row.name}: {peer.name} has error {errors[i]:.1e}, allowed {row.tolerance:.0e}")
        if i in problems:
            continue
        line["peer_ms"], line["gflops_peer"] = median[i], gflops[i]
        line["ratio"], line["spread"] = compared(times[i], times[0])
        if row.error_first and errors[0] > errors[i]:
            line["note"] = "does not count: larger error"
            line["ok"] = False
        elif line["reach"] is not None:
            line["ok"] = line["ratio"] >= line["reach"]
    if row.bound:
        first = len(row.peers) + 1
        line = {"row": f"{row.name}, over {row.bound_name}", "peer": row.peers[0][0].name, "at_most": True,
                "threads": options.threads, "ours_ms": median[first], "peer_ms": median[first + 1],
                "reach": row.bound[2]}
        line["ratio"], line["spread"] = compared(times[0], times[first])
        line["note"] = f"{row.peers[0][0].name} {compared(times[1], times[first + 1])[0]:.2f} over its own"
        lines[0]["limit"] = compared(times[1], times[first])[0]
        line["ok"] = line["ratio"] <= line["reach"] if line["reach"] else None
        lines.append(line)
    for c in contenders:
        if isinstance(c, Ours):
            c.child.close()
    return lines, broken


# ------------------------------------------------------------------------------- rows that have no peer in turns

LLAMA = "Llama-7B adapter, 224 modules R128→16"
ENCODER_MEMORY, DECODER_MEMORY = (module.NAME + ", peak memory" for module in (encoder, decoder))


def llama(scratch, layers):
    """Seconds for the whole adapter, and the peak memory of that process over the adapter's size."""
    lines, broken = [], []
    path = os.path.join(scratch, "llama.safetensors")
    name = LLAMA if layers == 32 else LLAMA.replace("224", str(7 * layers))
    child = Child(options.program, 1)
    child.ask(f"prepare llama_extraction {layers} {options.threads}")
    clock = 0 if options.threads == 1 else 1
    seconds = statistics.median(1e-3 * child.run()[clock] for _ in range(3))
    child.ask(f"save {path}")
    child.close()
    fresh = Child(options.program, 1)  # memory without what saving takes, and of one run
    fresh.ask(f"prepare llama_extraction {layers} {options.threads}")
    fresh.run()
    memory = fresh.close()
    out = load_file(path)
    Rb = torch.linalg.qr(out["B"].double(), mode="r")[1]
    Ra = torch.linalg.qr(out["A"].double().T, mode="r")[1]
    sigma = torch.linalg.svdvals(Rb @ Ra.T)[:16]
    error = float((out["S"].double().flatten() - sigma).abs().max() / sigma[0])
    if not error <= 1e-5:
        broken.append(f"{name}: singular values have error {error:.1e}")
    whole = layers == 32
    common = {"threads": options.threads, "at_most": True, "error_ours": error}
    lines.append({**common, "row": name, "unit": "s", "ours_ms": 1e3 * seconds, "ratio": seconds,
                  "reach": 3.0 if whole else None, "ok": seconds <= 3 if whole else None})
    ratio = memory / float(out["adapter_bytes"])
    lines.append({**common, "row": name + ", peak memory over the adapter's", "ratio": ratio,
                  "reach": 1.3 if whole else None, "ok": ratio <= 1.3 if whole else None,
                  "note": f"{memory / 1e9:.2f} GB"})
    return lines, broken


def memory_of_steps(scratch, module, work, settings, reach):
    """The peak memory of a process that trains for three steps, over that of one that does it in PEFT with each of the
    settings; `module` has the inputs and is the program that does so. The mark is for the first."""
    path = os.path.join(scratch, f"{work}_memory.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in module.inputs().items()}, path)
    child = Child(options.program, options.threads)
    child.ask(f"prepare {work} {path}")
    child.run(3)
    ours = child.close()
    lines = []
    for setting in settings:
        command = [sys.executable, module.__file__, str(options.threads), path, *([setting] if setting else [])]
        before, theirs = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        lines.append({"row": module.NAME + ", peak memory", "peer": f"PEFT {setting.split('=')[-1]}".strip(),
                      "threads": options.threads, "at_most": True, "ratio": ours / theirs,
                      "note": f"{ours / 1e9:.2f} of {theirs / 1e9:.2f} GB, {before / 1e9:.2f} of which are its libraries"})
    lines[0].update(reach=reach, ok=lines[0]["ratio"] <= reach)
    return lines, []


def whole_training(scratch, case):
    """preheat-finetune beside the Trainer, from the folder to the adapter."""
    tokenizer = os.path.join(ROOT, "tests", "apps", "finetune", "tokenizer.json")
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return trainer.lines_of(case, options.finetune, tokenizer, folder, options.threads, case is trainer.SMOLLM2)


def compile_costs(scratch, quick):
    """CPU seconds and peak memory of the compiler: a parse, one method, the compare program."""
    eigen = subprocess.run(["pkg-config", "--cflags", "eigen3"], capture_output=True, text=True).stdout.split()
    base = ["g++", "-std=c++20", "-O2", "-I" + os.path.join(ROOT, "include"), *eigen, "-DPREHEAT_SYSTEM_BLAS=1"]
    header = os.path.join(scratch, "header.cpp")
    with open(header, "w") as file:
        file.write("#include <preheat/preheat.hpp>\n")
    examples = os.path.join(ROOT, "examples")
    studies = os.path.join(ROOT, "studies")
    whole = [os.path.join(studies, folder, f) for folder in ("common", "digits", "compare")
             for f in sorted(os.listdir(os.path.join(studies, folder))) if f.endswith(".cpp")]
    console = ["-I" + ROOT, f'-DPREHEAT_DATA_DIR="{studies}/data"']
    jobs = [("compile: header alone", [(["-fsyntax-only"], header)], 2),
            ("compile: one method (quickstart)", [(["-c"], os.path.join(examples, "quickstart.cpp"))], 20)]
    if not quick:
        jobs.append(("compile: the compare program", [(["-c", *console], f) for f in whole], None))
    lines = []
    for name, files, budget in jobs:
        seconds, memory, slowest = 0.0, 0.0, 0.0
        for flags, source in files:
            cost = os.path.join(scratch, "cost")
            subprocess.run(["/usr/bin/time", "-o", cost, "-f", "%U %S %M", *base, *flags, "-o", os.devnull, source],
                           check=True)
            with open(cost) as file:
                user, system, kilobytes = map(float, file.read().split())
            seconds += user + system
            slowest = max(slowest, user + system)
            memory = max(memory, kilobytes / 1000)
        note = f"{memory:.0f} MB at most, budget 1000 MB"
        ok = memory <= 1000 and (seconds <= budget if budget else slowest <= 20)
        if budget is None:
            note += f"; {len(files)} files, the slowest {slowest:.1f} s, budget 20 s"
        lines.append({"row": name, "threads": 1, "unit": "s", "ours_ms": 1e3 * seconds, "ratio": seconds,
                      "reach": budget, "at_most": True, "ok": ok, "note": note})
    return lines, []


# ------------------------------------------------------------------------------------------------------- builds

def fresh(program):
    """Whether a program is younger than every source that it may be made of."""
    if not os.path.exists(program):
        return False
    sources = [os.path.join(folder, f) for top in ("include", "bench") for folder, _, files in
               os.walk(os.path.join(ROOT, top)) for f in files if f.endswith("pp")]
    return os.path.getmtime(program) > max(map(os.path.getmtime, sources))


def builds(scratch):
    """The adapted step, a GELU pass and AdamW in builds of preheat, by turns: a table in Markdown."""
    eigen = subprocess.run(["pkg-config", "--cflags", "eigen3"], capture_output=True, text=True).stdout.split()
    programs = []
    for compiler in ("g++", "clang++"):
        for native in ([], ["-march=native"]):
            for blas in (True, False):
                if compiler == "clang++" and not native:
                    continue
                path = os.path.join(FOLDER, f"peers_{compiler}{'_native' if native else ''}{'_blas' if blas else ''}")
                command = [compiler, "-std=c++20", "-O3", "-DNDEBUG", *native, "-I" + os.path.join(ROOT, "include"),
                           *eigen, os.path.join(ROOT, "bench", "peers", "peers.cpp"), "-o", path, "-pthread"]
                if blas:
                    command += ["-DPREHEAT_SYSTEM_BLAS=1", "-lopenblas"]
                name = f"{compiler} -O3{' -march=native' if native else ''}, {'OpenBLAS' if blas else 'Eigen alone'}"
                if not re.search(options.rows, name):
                    continue
                if fresh(path):
                    programs.append((name, path))
                    continue
                print("building:", name, file=sys.stderr)
                if subprocess.run(["which", compiler], capture_output=True).returncode:
                    print("skipped (no", compiler + ")")
                    continue
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
                programs.append((name, path))
    works = [row_list.adapted_step(512, 768, 768, 8, None), row_list.gelu(), row_list.adamw()]
    columns, broken = [], []
    for row in works:
        contenders = [Ours(row.work, row.inputs, scratch, path) for _, path in programs]
        for (name, _), c in zip(programs, contenders):
            for _ in range(row.check_runs):
                c.time(1)
            error = row.error(c.result())
            if not error <= row.tolerance:
                broken.append(f"{name}: {row.name} has error {error:.1e}")
        times, _ = take_turns(contenders, options.repeats)
        columns.append([statistics.median(t) for t in times])
        for c in contenders:
            c.child.close()
    print("\n| build | " + " | ".join(row.name + ", ms" for row in works) + " |\n|---|" + "---|" * len(works))
    for i, (name, _) in enumerate(programs):
        print(f"| {name} | " + " | ".join(f"{column[i]:.2f}" for column in columns) + " |")
    return broken


# --------------------------------------------------------------------------------------------------------- main

def processor():
    with open("/proc/cpuinfo") as file:
        names = re.findall(r"model name\s*: (.*)", file.read())
    return names[0] if names else "unknown"


def main():
    os.makedirs(FOLDER, exist_ok=True)
    makers, short = row_list.all_rows(FOLDER)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        def of_llama():
            return llama(scratch, 2 if options.quick else 32)
        jobs = {name: (lambda name=name: measure(makers[name](), scratch)) for name in makers
                if not options.quick or name in short}
        if not options.quick:
            jobs[ENCODER_MEMORY] = lambda: memory_of_steps(scratch, encoder, "encoder_step", [""], 1.0)
            jobs[DECODER_MEMORY] = lambda: memory_of_steps(scratch, decoder, "decoder_step",
                                                           ["attention=sdpa", "attention=eager"], 0.5)
        case = trainer.TINY if options.quick else trainer.SMOLLM2
        jobs[case["name"]] = lambda: whole_training(scratch, case)
        jobs[LLAMA] = of_llama
        if options.threads == 1:
            jobs["compile"] = lambda: compile_costs(scratch, options.quick)
        jobs = {name: job for name, job in jobs.items() if options.builds or re.search(options.rows, name)}
        if options.list:
            print("\n".join(jobs))
            return 0
        if not jobs:
            print(f"no row matches {options.rows!r}; ./run peers --list names them", file=sys.stderr)
            return 2

        peak = Peak()
        about = peak.measure()
        mkl = [l.strip(" -") for l in torch.__config__.show().splitlines() if "Math Kernel" in l or "CPU cap" in l]
        print(f"processor: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
              f"measured peak of {options.threads} thread(s): {peak.gflops:.0f} GFLOP/s ({peak.loop})")
        print(f"ours:  {about}")
        print(f"peers: torch {torch.__version__}, {'; '.join(mkl) or 'no MKL'}")
        print(f"{options.threads} thread(s), {'CPU' if options.threads == 1 else 'wall'} time, "
              f"{options.repeats} turns", flush=True)
        if options.builds:
            broken = builds(scratch)
            lines = []
        else:
            lines, broken = [], []
            for name, job in jobs.items():
                print(f"measuring: {name}", file=sys.stderr, flush=True)
                peak.measure()
                more, wrong = job()
                lines += more
                for line in more:
                    print("   ", brief(line), file=sys.stderr, flush=True)
                broken += wrong
            add_shares(lines, peak.gflops)
            print_table(lines)
            print(f"highest peak measured: {peak.gflops:.0f} GFLOP/s ({peak.loop})")
            os.makedirs(options.out, exist_ok=True)
            write_csv(lines, os.path.join(options.out, "peers.csv"))
            write_svg(lines, os.path.join(options.out, "peers.svg"))
            print(f"load at the end: {os.getloadavg()[0]:.1f}")
    for problem in broken:
        print("DISAGREE:", problem)
    return 1 if broken else 0


sys.exit(main())
