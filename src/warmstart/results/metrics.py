"""Metrics: which metric ranks a task, and what is its range?"""

PERCENTAGE_ERROR = "median percentage error"
HIGHEST = {"chrF": 100.0, "sentence BLEU": 100.0}  # that a score can be, where it is not 1


RANKED_BY = {"summarise": "ROUGE-L", "translate": "chrF", "structured": "field accuracy"}

# What a task can be ranked by: as it is typed, and as it is called. The first of each is the task's own.
RANKINGS: dict[str, dict[str, str]] = {
    "classification": {
        "accuracy": "accuracy",
        "balanced-accuracy": "balanced accuracy",
        "macro-f1": "macro F1",
        "log-loss": "log loss",
    },
    "label sets": {"micro-f1": "micro F1", "macro-f1": "macro F1", "exact-match": "exact match"},
    "regression": {"mae": "mean absolute error", "rmse": "root mean squared error", "r2": "R2"},
    "summarise": {
        "rouge-l": "ROUGE-L",
        "rouge-1": "ROUGE-1",
        "rouge-2": "ROUGE-2",
        "exact-match": "exact match",
        "faithfulness": "faithfulness",
    },
    "translate": {"chrf": "chrF", "bleu": "sentence BLEU", "exact-match": "exact match"},
    "structured": {"field-accuracy": "field accuracy", "validity": "validity"},
}
SQUARED_ERRORS = ("root mean squared error", "R2")
MEAN_COST = "mean cost"  # where mistakes have costs
LOWER_IS_BETTER = (MEAN_COST, "log loss", "mean absolute error", "root mean squared error")


def rankings_of(task: str, multi_label: bool) -> dict[str, str]:
    """The names of metrics that a task can be ranked by; none where it can only be by its own."""
    return RANKINGS.get("label sets" if multi_label and task == "classification" else task, {})
