"""Stage state: what changes while a stage trains? Everything that a checkpoint must hold."""

import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from warmstart.data.encoding.examples import Examples
from warmstart.models.used_embeddings import write_back
from warmstart.results.record import Evaluation
from warmstart.runtime.distributed import world
from warmstart.runtime.environment import current_environment
from warmstart.tasks.task import Task
from warmstart.training.checkpoint import Saved
from warmstart.training.early_stopping import BestWeights, _copy
from warmstart.training.flops import Flops
from warmstart.training.loop import State
from warmstart.training.validation import evaluate, evaluation_mode

SLOWER = 0.5  # times the rate, after weights that had to be taken back


@dataclass
class TrainingHistory:
    """What has happened in training so far, over all stages."""

    evaluations: int
    retreats: int = 0  # how often it may go back to its best weights
    went_back: int = 0  # how often it did
    points: list[Evaluation] = field(default_factory=list)
    steps: int = 0  # of the stages that are done
    best_step: int = 0
    flops: float = 0.0
    caveats: list[str] = field(default_factory=list)
    cost: Flops = field(default_factory=Flops)  # of one example, in the last stage
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def turn(self, objective: Task) -> None:
        """Start the next stage, whose objective differs: its evaluations cannot be compared with the earlier ones."""
        scores = [point.val_score for point in self.points]
        self.points.clear()
        if len(scores) > 1:
            self.caveats.append(
                f"first {self.steps} steps on the language of the domain: {objective.metric} {scores[0]:.3f} at the "
                "first "
                f"look, {scores[-1]:.3f} at the last"
            )

    def to_json(self) -> dict[str, Any]:
        """What resuming cannot derive again."""
        known = {name: getattr(self, name) for name in ("went_back", "steps", "best_step", "flops", "caveats")}
        return known | {"points": [vars(point) for point in self.points], "seconds": self.seconds}

    def go_on(self, facts: dict[str, Any]) -> None:
        """Continue from what `to_json` returned."""
        self.went_back, self.steps, self.best_step = facts["went_back"], facts["steps"], facts["best_step"]
        self.flops, self.caveats = facts["flops"], list(facts["caveats"])
        self.points = [Evaluation(**point) for point in facts["points"]]
        self.began = time.perf_counter() - facts["seconds"]


@dataclass
class StageState:
    """State of one stage during training."""

    number: int
    state: State
    best_weights: BestWeights
    history: TrainingHistory
    whole: dict[str, Tensor]  # by name: every weight and buffer of the model that any stage so far has changed
    losses: list[float] = field(default_factory=list)  # since the last look; empty: the weights are those looked at

    def look(self, task: Task, validation: Examples, steps_per_epoch: int, last: bool) -> None:
        """Evaluate the current weights on validation rows; keep them if they are the best."""
        world().broadcast(buffer for buffer in self.state.model.buffers() if buffer.is_floating_point())
        with evaluation_mode(self.state.model):
            loss, score = evaluate(self.state.model, task, validation)
        history, step = self.history, self.state.step
        mean = statistics.fmean(self.losses)
        history.points.append(
            Evaluation(history.steps + step, step / steps_per_epoch, mean, loss, score, history.seconds)
        )
        self.losses.clear()
        self.best_weights.update(score, step, last)

    def retreat(self) -> None:
        """Go back to the best weights so far, with a fresh optimizer and a lower rate."""
        state, history, best_weights = self.state, self.history, self.best_weights
        history.went_back += 1
        history.caveats.append(
            f"step {history.steps + state.step - 1} and those before it had no finite loss: "
            f"went back to step {history.steps + best_weights.step} at {SLOWER:g} times the rate"
        )
        best_weights.restore()
        best_weights.waited = 0
        state.optimizer.state.clear()
        state.step, state.strikes, state.slowed = best_weights.step, 0, state.slowed * SLOWER
        history.points = [point for point in history.points if point.step <= history.steps + best_weights.step]
        self.losses.clear()

    # --- saving and going on ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """A name that sorts after all earlier ones, also after going back to an earlier step."""
        return f"{self.number}-{self.history.went_back}-{self.state.step:08d}"

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that changes, as tensors and facts."""
        write_back(self.state.model)
        tensors = {f"weights/{name}": tensor for name, tensor in self.whole.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best_weights.weights.items()}
        moments = self.state.optimizer.state_dict()["state"]
        tensors |= {
            f"optimizer/{i}/{key}": t for i, kept in moments.items() for key, t in kept.items() if t is not None
        }
        state, best_weights = self.state, self.best_weights
        facts = {
            "stage": self.number,
            "state": {name: getattr(state, name) for name in STATE},
            "best": {name: getattr(best_weights, name) for name in BEST},
            "course": self.history.to_json(),
            "losses": self.losses,
            "where": bitwise_environment(),
        }
        return tensors, facts

    def unpack(self, saved: Saved) -> None:
        """Restore what `pack` returned. The weights themselves are restored before, by `restore`."""
        for name in STATE:
            setattr(self.state, name, saved.facts["state"][name])
        for name in BEST:
            setattr(self.best_weights, name, saved.facts["best"][name])
        _copy(_under("best/", saved), self.best_weights.weights)
        self.losses[:] = saved.facts["losses"]
        optimizer = self.state.optimizer
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer/", saved).items():
            number, _, key = name.partition("/")
            moments.setdefault(int(number), {})[key] = world().shard_like(tensor, parameters[int(number)])
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        if saved.facts["where"] != bitwise_environment():
            self.history.caveats.append(
                "resumed with a different version, machine or number of threads or processes: "
                "not bit-identical to an uninterrupted run"
            )


STATE = ("step", "slowed", "micro_batch", "skipped", "strikes")
BEST = ("score", "step", "waited")


def restore_weights(saved: Saved, whole: dict[str, Tensor]) -> None:
    """Copy saved weights back into the model."""
    _copy(_under("weights/", saved), whole)


def bitwise_environment() -> dict[str, Any]:
    """What must stay the same for results to be bit-identical."""
    facts = asdict(current_environment("-", world().size))
    return {name: facts[name] for name in ("warmstart", "torch", "cpu", "threads", "device", "processes")}


def _under(prefix: str, saved: Saved) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in saved.tensors.items() if name.startswith(prefix)}
