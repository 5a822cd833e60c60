"""Ludwig: a head on a frozen encoder whose output it keeps, trained for several seeds."""

import logging
import tempfile
import time
from collections.abc import Sequence

import texts


def fit(
    problem: texts.Problem, epochs: int, batch_size: int, lr: float, seeds: Sequence[int]
) -> tuple[float, list[list[str]]]:
    """Seconds of preprocessing and of all trainings, and what each seed's model says of the held-out rows."""
    import pandas
    from ludwig.api import LudwigModel

    encoder = {
        "type": "auto_transformer",
        "pretrained_model_name_or_path": problem.start.base.location,
        "trainable": False,
        "reduce_output": "mean",
    }
    reading = {"cache_encoder_embeddings": True, "max_sequence_length": problem.start.base.inputs.max_length}
    text = {"name": "text", "type": "text", "encoder": encoder, "preprocessing": reading}
    config = {
        "input_features": [text],
        "output_features": [{"name": "section", "type": "category"}],
        "combiner": {"type": "concat"},
        "preprocessing": {"split": {"type": "fixed"}},
        "trainer": {"epochs": epochs, "batch_size": batch_size, "learning_rate": lr, "early_stop": -1},
    }
    rows, held_out = (
        pandas.DataFrame({"text": list(part.texts), "section": part.targets}).assign(split=number)
        for number, part in ((0, problem.train), (2, problem.splits.test))
    )
    watched = pandas.DataFrame({"text": list(problem.splits.val.texts), "section": problem.splits.val.targets}).assign(
        split=1
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        models = [LudwigModel(config, logging_level=logging.ERROR) for _ in seeds]
        given = models[0].preprocess(
            dataset=pandas.concat([rows, watched]), skip_save_processed_input=True, random_seed=seeds[0]
        )
        for model, seed in zip(models, seeds, strict=True):
            model.train(
                training_set=given.training_set,
                validation_set=given.validation_set,
                training_set_metadata=given.training_set_metadata,
                skip_save_training_description=True,
                skip_save_training_statistics=True,
                skip_save_model=True,
                skip_save_progress=True,
                skip_save_log=True,
                skip_save_processed_input=True,
                output_directory=folder,
                random_seed=seed,
            )
        seconds = time.perf_counter() - began
        predicted = [model.predict(dataset=held_out, output_directory=folder)[0] for model in models]
    return seconds, [table["section_predictions"].tolist() for table in predicted]
