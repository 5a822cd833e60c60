"""Metrics: which metric ranks a task, and what is its range?"""

PERCENTAGE_ERROR = "median percentage error"
HIGHEST = {"chrF": 100.0}  # that a score can be, where it is not 1


RANKED_BY = {"summarise": "ROUGE-L", "translate": "chrF", "structured": "field accuracy"}
