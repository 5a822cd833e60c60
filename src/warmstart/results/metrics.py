"""Metrics: which metric ranks a task, and what is its range?"""

HIGHEST = {"chrF": 100.0}  # that a score can be, where it is not 1


RANKED_BY = {"summarise": "ROUGE-L", "translate": "chrF", "structured": "field accuracy"}
