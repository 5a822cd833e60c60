"""AutoGluon's side of `autogluon.py`, run by the Python of its own environment: see there.

Reads `train.parquet` and `test.parquet` of a folder, writes `predictions.parquet`, and prints facts as JSON.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from autogluon.tabular import TabularPredictor


def main() -> None:
    folder, target, preset, seconds, kind = sys.argv[1:]
    train, test = (pd.read_parquet(Path(folder) / f"{name}.parquet") for name in ("train", "test"))
    began, used = time.monotonic(), time.process_time()
    numbers = {"problem_type": "regression", "eval_metric": "mean_absolute_error"}
    asked = numbers if kind == "numbers" else {"eval_metric": "accuracy"}
    predictor = TabularPredictor(target, path=f"{folder}/autogluon-{preset}", verbosity=0, **asked)
    predictor.fit(train, time_limit=float(seconds), presets=preset, num_cpus=1, num_gpus=0)
    facts = {"seconds": round(time.monotonic() - began), "cpu_seconds": round(time.process_time() - used)}
    predicted = predictor.predict(test.drop(columns=target))
    pd.DataFrame({"prediction": predicted.to_numpy()}).to_parquet(Path(folder) / "predictions.parquet")
    print(json.dumps({"model": predictor.model_best, "models": len(predictor.model_names()), **facts}))


if __name__ == "__main__":
    main()
