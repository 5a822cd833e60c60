"""GPU parts: what does each part of gpu.py measure? `python gpu_parts.py PART full|tiny` prints one line of JSON.

Weights are random and tokens are made up: neither changes how long a step takes. Model FLOPs of a token are 6 for each
weight that is trained, 4 for each that only passes gradients on; attention is not counted, so that the shares of the
peak are on the low side.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from warmstart.data.encoding.batches import Batch
from warmstart.data.encoding.packing import PackedLine, PackingLayout
from warmstart.models.attention import attend_row_by_row
from warmstart.models.causal_lm import OutputLayer
from warmstart.models.compile import compile_blocks
from warmstart.models.lm_head import LanguageHead
from warmstart.models.model import UNPOOLED, Model
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA
from warmstart.regimes.method import Method
from warmstart.runtime.device import best_device, peak_memory, precision, reset_peak_memory
from warmstart.runtime.environment import current_environment
from warmstart.tasks.language import Language
from warmstart.training.config import TrainConfig
from warmstart.training.loop import start_training, train

Row = dict[str, Any]
# Dense bf16, TFLOP/s.
PEAKS = {"H100": 989.0, "H200": 989.0, "GH200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "B200": 2250.0}
TOLERANCES = (2e-4, 1e-3, 1e-2)  # of losses; the first is that of the suite on CPUs
TIMED_FROM = 3  # steps before are for warming up
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True)
class Size:
    """How large a part is."""

    config: Row  # of a Llama
    lengths: tuple[int, ...]  # tokens of the rows of a batch
    steps: int = 20
    dtype: torch.dtype = torch.float32


LLAMA_135M = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152,
}  # fmt: skip
LLAMA_124M = {
    "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
    "vocab_size": 50304,
}  # fmt: skip
LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip


def uneven(rows: int, longest: int) -> tuple[int, ...]:
    """Lengths as texts have them: many short ones, few long ones."""
    drawn = np.random.default_rng(0).lognormal(mean=np.log(longest / 8), sigma=0.9, size=rows)
    return tuple(int(n) for n in drawn.clip(8, longest))


TINY = Size(SMALL | {"vocab_size": 256}, (5, 32, 9, 14, 3, 20), steps=5)
TINY_EVEN = replace(TINY, lengths=(32, 32))


class RandomRows:
    """The same batch of made-up rows at every step."""

    def __init__(self, config: Any, lengths: Sequence[int], *, packed: bool = True):
        random = np.random.default_rng(0)
        drawn = [random.integers(1, config.vocab_size, n) for n in lengths]
        lines = [PackedLine(tokens, np.append(tokens[1:], tokens[0]), float(len(tokens))) for tokens in drawn]
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            layout = PackingLayout(folder, causal=True, pad=0, max_length=max(lengths))
            if not packed:
                vars(layout)["packs"] = False  # a line for each row, as of a model that cannot keep rows separate
            self.batch = Batch(layout.batch(lines), torch.zeros(len(lines)))
        self.tokens = sum(lengths)

    def at(self, step: int, at_most: int | None = None) -> list[Batch]:
        return [self.batch]


def llama(size: Size, layers: int | None = None) -> tuple[Any, Model]:
    """A Llama of this size with random weights, made on the device."""
    from transformers import LlamaConfig, LlamaModel

    shape = size.config | ({"num_hidden_layers": layers} if layers else {})
    config = LlamaConfig(**shape, max_position_embeddings=max(4096, *size.lengths), pad_token_id=0)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    try:
        with torch.device(best_device()):
            body = LlamaModel(config)
            head = torch.randn(config.vocab_size, config.hidden_size) * 0.02
    finally:
        torch.set_default_dtype(before)
    attend_row_by_row(body)
    return config, Model(body, LanguageHead.of(body, OutputLayer(head)), UNPOOLED)


def timed(model: Model, method: Method, rows: RandomRows, steps: int, backend: str | None = None) -> Row:
    """Median seconds of a step of our loop, first and last loss, and memory at the peak."""
    model.body = method.prepare(model.body)
    rates = method.rates(model)
    learned = [p for name, p in model.named_parameters() if name in rates]
    for parameter in learned:  # adapters on weights in bf16 are learned in fp32
        parameter.data = parameter.data.float()
    model.to(best_device())
    reset_peak_memory()
    config = TrainConfig(steps=steps, lr=1e-4, batch_size=len(rows.batch), precision=precision())
    losses, marks = [], [time.perf_counter()]
    with ExitStack() as stack:
        state = start_training(model, rates, config)
        if backend:
            stack.enter_context(compile_blocks(model, backend))
        for step in train(state, Language("causal-lm"), rows, config):
            losses.append(step.loss)
            marks.append(time.perf_counter())
    took = statistics.median(np.diff(marks)[min(TIMED_FROM, steps - 1) :])
    return {
        "seconds_per_step": float(took),
        "tokens_per_second": rows.tokens / float(took),
        "first_step_seconds": marks[1] - marks[0],
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "peak_bytes": peak_memory(),
        "learned": sum(p.numel() for p in learned),
        "lines": len(rows.batch.inputs["input_ids"]),
    }


def weights_of(model: nn.Module) -> int:
    """Weights that a token is multiplied with: all but the embedding table, which is only looked up."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    packed = {id(m.weight): m.in_features * m.out_features for m in model.modules() if isinstance(m, nn.Linear)}
    return sum(packed.get(id(p), p.numel()) for p in model.parameters() if id(p) not in tables)


def speed(found: Row, weights: int, flops_per_weight: int) -> Row:
    """With TFLOP/s, and their share of the peak where that of the device is known."""
    reached = flops_per_weight * weights * found["tokens_per_second"] / 1e12
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((tflops for part, tflops in PEAKS.items() if part in name), None)
    return found | {"weights": weights, "tflops": reached, "share_of_peak": peak and reached / peak}


# --- the parts --------------------------------------------------------------------------------------------------------


def packing(tiny: bool) -> Row:
    """Rows of uneven lengths in one line, against the same rows padded to the longest: a Llama of 135M weights."""
    size = TINY if tiny else Size(LLAMA_135M, uneven(64, 1024))
    found: Row = {}
    for name, packed in (("padded", False), ("packed", True)):
        config, model = llama(size)
        found[name] = timed(model, Full(), RandomRows(config, size.lengths, packed=packed), size.steps)
        del model
    found["times_faster"] = found["padded"]["seconds_per_step"] / found["packed"]["seconds_per_step"]
    found["first_losses_differ_by"] = abs(found["padded"]["first_loss"] - found["packed"]["first_loss"])
    return found


def compiling(tiny: bool) -> Row:
    """Packed rows with the blocks compiled, against the same without: what is gained, and what compiling takes."""
    size = TINY if tiny else Size(LLAMA_135M, uneven(64, 1024))
    found: Row = {}
    for name, backend in (("plain", None), ("compiled", "eager" if tiny else "inductor")):
        config, model = llama(size)
        found[name] = timed(model, Full(), RandomRows(config, size.lengths), size.steps, backend)
        del model
    found["times_faster"] = found["plain"]["seconds_per_step"] / found["compiled"]["seconds_per_step"]
    found["compile_seconds"] = found["compiled"]["first_step_seconds"] - found["compiled"]["seconds_per_step"]
    return found


def scratch(tiny: bool) -> Row:
    """124M weights from scratch: the share of the device's peak. The goal is 45 %."""
    size = TINY_EVEN if tiny else Size(LLAMA_124M, (1024,) * 32)
    config, model = llama(size)
    weights = weights_of(model)
    backend = "eager" if tiny else "inductor"
    return speed(timed(model, Full(), RandomRows(config, size.lengths), size.steps, backend), weights, 6)


def lora(tiny: bool) -> Row:
    """Adapters on a Llama of 8B weights in bf16: TFLOP/s, beside Trainer and PEFT. Goals: 402, and 1.5 times theirs."""
    size = TINY_EVEN if tiny else Size(LLAMA_8B, (2048,) * 2, steps=10, dtype=torch.bfloat16)
    config, model = llama(size)
    weights, rows = weights_of(model), RandomRows(config, size.lengths)
    found: Row = {"ours": speed(timed(model, LoRA(), rows, size.steps), weights, 4)}
    config, model = llama(size)
    backend = "eager" if tiny else "inductor"
    found["ours, compiled"] = speed(timed(model, LoRA(), rows, size.steps, backend), weights, 4)
    del model
    try:
        found["Trainer and PEFT"] = speed(trainer_and_peft(config, size), weights, 4)
    except Exception as error:  # whatever a peer raises, our own figures are kept
        found["Trainer and PEFT"] = {"error": f"{type(error).__name__}: {error}"}
        return found
    best = max(found[name]["tokens_per_second"] for name in ("ours", "ours, compiled"))
    found["times_faster"] = best / found["Trainer and PEFT"]["tokens_per_second"]
    return found


def trainer_and_peft(config: Any, size: Size) -> Row:
    """The same adapters on the same rows by the usual tools."""
    import peft
    from transformers import LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Marks(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            self.times.append(time.perf_counter())

    marks = Marks()
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(size.dtype)
    try:
        with torch.device(best_device()):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    adapters = LoRA().config("all-linear")  # type: ignore[arg-type]  # peft's word for it
    adapters.task_type = "CAUSAL_LM"
    adapted = peft.get_peft_model(model, adapters)
    random = np.random.default_rng(0)
    drawn = [random.integers(1, config.vocab_size, n).tolist() for n in size.lengths]
    rows = [{"input_ids": torch.tensor(row), "labels": torch.tensor(row)} for row in drawn * size.steps]
    reset_peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=size.steps, per_device_train_batch_size=len(size.lengths), learning_rate=1e-4,
            bf16=precision() == "bf16", use_cpu=not torch.cuda.is_available(), save_strategy="no",
            logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(adapted, arguments, train_dataset=rows, callbacks=[marks])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    took = float(statistics.median(np.diff(marks.times)[min(TIMED_FROM, size.steps - 2) :]))
    return {
        "seconds_per_step": took,
        "tokens_per_second": sum(size.lengths) / took,
        "peak_bytes": peak_memory(),
        "learned": sum(p.numel() for p in adapted.parameters() if p.requires_grad),
    }


def qlora(tiny: bool) -> Row:
    """The same adapters on the same Llama in 4 bits: speed and memory."""
    size = TINY_EVEN if tiny else Size(LLAMA_8B, (2048,) * 2, steps=8, dtype=torch.bfloat16)
    config, model = llama(size)
    weights = weights_of(model)
    return speed(timed(model, LoRA(quantize="nf4"), RandomRows(config, size.lengths), size.steps), weights, 4)


def finetune(tiny: bool) -> Row:
    """All weights of a MiniLM on made-up short texts, against Trainer in bf16 with rows grouped by length."""
    import gpu_texts
    import peers
    from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
    from warmstart.training.build_model import start_model

    count = 48 if tiny else 8_000
    with tempfile.TemporaryDirectory() as folder:
        problem = gpu_texts.problem(Path(folder), count, tiny=tiny)
        regime = Regime("full", problem.start, (Stage(Full()),), DEFAULTS["full"])
        config = TrainConfig(steps=count // 2 // 16, lr=2e-4, batch_size=16 if tiny else 32, precision=precision())
        found: Row = {"rows": count}
        times: dict[str, list[float]] = {"ours": [], "Trainer": []}
        for who in ("Trainer", "ours", "ours", "Trainer"):
            began = time.perf_counter()
            if who == "ours":
                model = problem.fit(regime, config)
            else:
                theirs = peers.Labeled(start_model(regime, problem.task, 0), problem.task)
                began = time.perf_counter()
                examples = peers.tokenized(problem.start, problem.train, problem.task.targets(problem.train))
                peers.trainer(theirs, examples, peers.padded(problem.start), config, "tuned")
                model = theirs.model
            times[who].append(time.perf_counter() - began)
            found[f"accuracy, {who}"] = problem.accuracy(model)
        found |= {f"seconds, {who}": min(each) for who, each in times.items()}
        found["times_faster"] = min(times["Trainer"]) / min(times["ours"])
    return found


def golden(tiny: bool) -> Row:
    """The suite's tiny trainings without dropout: how far are losses on the device from those on the CPU?"""
    found = golden_losses(tiny)
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root / "src"), str(root), str(root / "benchmarks")])
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    call = [sys.executable, "-W", "ignore", __file__, "golden-losses", "tiny" if tiny else "full"]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, env=hidden, check=True)
    known: dict[str, list[float]] = json.loads(done.stdout.strip().splitlines()[-1])
    apart = {name: float(np.abs(np.subtract(found[name], known[name])).max()) for name in known}
    return {
        "largest_difference": apart,
        "within": {str(t): sum(d <= t for d in apart.values()) for t in (2e-4, 1e-3, 1e-2)},
    }


def golden_losses(tiny: bool) -> dict[str, list[float]]:
    """Losses of a few steps of each regime, in fp32, on the device that this process sees."""
    from tests.golden import test_losses as suite
    from tests.tiny import REGRESSION, save_tiny_base, tiny_draw
    from warmstart.models.pretrained.base import find_base
    from warmstart.regimes.regimes import REGIMES, RegimeContext
    from warmstart.training.stages import train_stages

    torch.set_num_threads(1)
    run_data = tiny_draw(REGRESSION)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        base = find_base(str(save_tiny_base(Path(folder) / "base")), max_length=32)
        for name in ["full", "lora"] if tiny else sorted(suite.GOLDEN):
            regime = REGIMES[name](RegimeContext(base, len(run_data.splits.train), dropout=0.0))
            steps = train_stages(regime, TrainConfig(steps=suite.STEPS, lr=1e-3, batch_size=8), run_data, evaluations=1)
            found[name] = [event.step.loss for _, event in zip(range(suite.STEPS), steps, strict=False) if event.step]
    return found


def resume(tiny: bool) -> Row:
    """A training that is stopped and continued, against one that is not; and two processes against one."""
    import gpu_texts

    found = gpu_texts.stopped_and_continued(tiny)
    if tiny:
        return found
    several = torch.cuda.device_count() > 1
    hidden = os.environ | ({} if several else {"CUDA_VISIBLE_DEVICES": ""})  # NCCL wants a GPU for each process
    call = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", "tests/runtime/test_distributed.py"]
    done = subprocess.run(
        call, cwd=Path(__file__).parents[1], env=hidden, stdout=subprocess.PIPE, text=True, check=False
    )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    return found | {"two_processes": {"on": "GPUs" if several else "CPU", "passed": done.returncode == 0, "said": last}}


PARTS: dict[str, Callable[[bool], Row]] = {
    part.__name__: part for part in (packing, compiling, scratch, lora, finetune, qlora, golden, resume)
}


def main(name: str, size: str) -> None:
    tiny = size == "tiny"
    if name == "golden-losses":
        print(json.dumps(golden_losses(tiny)))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    facts = {"device": device, "torch": torch.__version__, "environment": vars(current_environment(precision()))}
    print(json.dumps(PARTS[name](tiny) | facts, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
