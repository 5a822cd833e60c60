"""Old scores: what does a regime score on the rows that an earlier model was tested on, and what did it forget?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmstart.results.bootstrap import Resampled, resample
from warmstart.results.record import Estimate, Run


@dataclass(frozen=True)
class OldScore:
    """The metric on the test rows of the earlier study, over seeds. No regime is trained on these rows."""

    rows: int
    score: Estimate
    lost: Estimate | None  # turned: positive is worse than the earlier model. None: of that itself, or it has no score

    def to_json(self) -> dict[str, Any]:
        """`old_rows` of an entry of `regimes` in comparison.json."""
        lost = None if self.lost is None else {"lost": self.lost.value, "lost_interval": list(self.lost.interval)}
        known = {"rows": self.rows, "score": self.score.value, "interval": list(self.score.interval)}
        return known | (lost or {"lost": None, "lost_interval": None})


def old_score(runs: Sequence[Run], earlier: Sequence[Run]) -> OldScore | None:
    """`earlier`: the runs of the earlier model as it is. None where a seed was not scored on old rows."""
    drawn = _drawn(runs)
    if drawn is None:
        return None
    seeds = [run.seed for run in runs if run.seed in {each.seed for each in earlier}]
    before = _drawn([run for run in earlier if run.seed in seeds])
    lost = None
    if before is not None and runs[0].regime != earlier[0].regime:
        difference = before - drawn.only([place for place, run in enumerate(runs) if run.seed in seeds])
        lost = (difference if runs[0].higher_is_better else -difference).estimate
    return OldScore(drawn.rows, drawn.estimate, lost)


def _drawn(runs: Sequence[Run]) -> Resampled | None:
    scores = [run.old_scores for run in runs if run.old_scores is not None]
    return resample(scores, groups=runs[0].old_groups) if scores and len(scores) == len(runs) else None
