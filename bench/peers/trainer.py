"""The row of a whole training of `./run peers`: the program preheat-finetune beside the Trainer of transformers with LoRA of PEFT,
each in a process of its own, on the same model folder, lines of text, batch, rank, rate and steps, in float.

A batch has all the examples, so that both see the same whatever their order; and PEFT starts from the A and B that
preheat-finetune starts from, so that the losses are the same step by step. The first step, which allocates, is not counted.

As a program it does the Trainer's part:  trainer.py SETTINGS_JSON"""
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import decoder

RANK, ALPHA, RATE = 8, 16, 1e-4
SMOLLM2 = {"name": "whole training, SmolLM2-135M, 4×256 tokens r8", "shape": decoder.SMOLLM2, "steps": 6, "turns": 2}
TINY = {"name": "whole training, 2 blocks of 64, 2×64 tokens r8", "shape": decoder.TINY, "steps": 60, "turns": 1}
LOSS_TOLERANCE = 1e-3


def write_work(folder, shape, tokenizer):
    """A model of this shape as transformers saves it, and texts that are long enough to be cut."""
    model = os.path.join(folder, "model")
    base = decoder.base_model(shape)
    base.config.eos_token_id = base.config.bos_token_id = None
    base.generation_config.eos_token_id = base.generation_config.bos_token_id = None
    base.save_pretrained(model)
    del base
    with open(tokenizer, "rb") as source, open(os.path.join(model, "tokenizer.json"), "wb") as to:
        to.write(source.read())
    data = os.path.join(folder, "train.jsonl")
    with open(data, "w") as file:
        for k in range(shape["sequences"]):
            text = " ".join(f"{(37 * i + 11 * k) % 101} and then {i * i}" for i in range(shape["length"]))
            file.write(json.dumps({"text": text}) + "\n")
    return model, data


def ended(command, scratch):
    """Runs a program; answers its output and its peak memory in bytes. A child of this process itself would have the peak of
    this process too."""
    cost = os.path.join(scratch, "cost")
    done = subprocess.run(["/usr/bin/time", "-o", cost, "-f", "%M", *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    with open(cost) as file:
        return done.stdout, 1024 * int(file.read())


def per_step(steps, clock):
    """Milliseconds a step, without the first one."""
    return 1e3 * (steps[-1][clock] - steps[0][clock]) / (len(steps) - 1)


def ours(program, work, out, steps, threads, rate=RATE):
    command = [program, work["model"], "--data", work["data"], "--out", out, "--method", "lora", "--rank", RANK, "--alpha", ALPHA,
               "--rate", rate, "--schedule", "constant", "--warmup", 0, "--clip", 1, "--batch", work["sequences"], "--seq",
               work["length"], "--steps", steps, "--checkpoint-every", 0, "--threads", threads]
    _, memory = ended([str(word) for word in command], os.path.dirname(out))
    with open(os.path.join(out, "log.jsonl")) as file:
        return {"steps": [json.loads(line) for line in file], "memory": memory}


def theirs(work, start, steps, threads):
    settings = json.dumps({**work, "start": start, "steps": steps, "threads": threads})
    output, memory = ended([sys.executable, os.path.abspath(__file__), settings], os.path.dirname(start))
    return {**json.loads(output.splitlines()[-1]), "memory": memory}


def lines_of(case, program, tokenizer, scratch, threads, marks):
    """The lines of the table, and what disagrees."""
    name, steps = case["name"], case["steps"]
    work = {"sequences": case["shape"]["sequences"], "length": case["shape"]["length"]}
    work["model"], work["data"] = write_work(scratch, case["shape"], tokenizer)
    start = os.path.join(scratch, "start")
    ours(program, work, start, 1, threads, rate=1e-12)  # the adapter as it starts
    clock = "cpu_seconds" if threads == 1 else "seconds"
    ratios, memory, mine, other = [], [], [], []
    for turn in range(case["turns"]):
        a = ours(program, work, os.path.join(scratch, f"adapter{turn}"), steps, threads)
        b = theirs(work, start, steps, threads)
        mine.append(per_step(a["steps"], clock))
        other.append(per_step(b["steps"], clock))
        ratios.append(other[-1] / mine[-1])
        memory.append(a["memory"] / b["memory"])
    gaps = [abs(x["loss"] - y["loss"]) for x, y in zip(a["steps"], b["steps"], strict=True)]
    tokens = work["sequences"] * work["length"]
    ratio, most = statistics.median(ratios), statistics.median(memory)
    line = {"row": name, "peer": "PEFT Trainer", "threads": threads, "ours_ms": statistics.median(mine),
            "peer_ms": statistics.median(other), "ratio": ratio, "spread": (min(ratios), max(ratios)),
            "note": f"{1e3 * tokens / statistics.median(mine):.0f} and {1e3 * tokens / statistics.median(other):.0f} tokens/s; "
                    f"loss {a['steps'][0]['loss']:.4f} to {a['steps'][-1]['loss']:.4f}, theirs {b['steps'][-1]['loss']:.4f}, "
                    f"largest difference in a step {max(gaps):.1e}"}
    peak = {"row": name + ", peak memory", "peer": "PEFT Trainer", "threads": threads, "at_most": True, "ratio": most,
            "note": f"{a['memory'] / 1e9:.2f} of {b['memory'] / 1e9:.2f} GB, {b['libraries'] / 1e9:.2f} of which are its libraries"}
    if marks:
        line.update(reach=1.3, ok=ratio >= 1.3)
        peak.update(reach=0.5, ok=most <= 0.5)
    broken = [] if max(gaps) <= LOSS_TOLERANCE else [f"{name}: losses of a step differ by {max(gaps):.1e}"]
    return [line, peak], broken


def train(settings):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(settings["threads"])
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    base = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32)
    base.config.use_cache = False
    model = PeftModel.from_pretrained(base, settings["start"], is_trainable=True)
    words = PreTrainedTokenizerFast(tokenizer_file=os.path.join(settings["model"], "tokenizer.json"))
    with open(settings["data"]) as file:
        texts = [words(json.loads(line)["text"], truncation=True, max_length=settings["length"])["input_ids"] for line in file]
    steps = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            steps.append({"cpu_seconds": time.process_time(), "seconds": time.perf_counter()})

    class Recording(Trainer):
        losses = []

        def compute_loss(self, *arguments, **named):
            loss = super().compute_loss(*arguments, **named)
            self.losses.append(loss.detach())
            return loss

    arguments = TrainingArguments(
        output_dir=os.path.join(settings["start"], "trainer"), per_device_train_batch_size=settings["sequences"],
        max_steps=settings["steps"], learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0,
        save_strategy="no", logging_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False)
    trainer = Recording(model=model, args=arguments, train_dataset=[{"input_ids": ids, "labels": ids} for ids in texts],
                        data_collator=lambda rows: {key: torch.tensor([row[key] for row in rows]) for key in rows[0]},
                        callbacks=[Clock()])
    trainer.train()
    print(json.dumps({"libraries": libraries, "steps": [{**step, "loss": float(loss)} for step, loss in
                                                        zip(steps, trainer.losses, strict=True)]}))


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
