"""Parity: nothing happens in `train` but what these lines say."""

import copy

import pytest
import torch

from tests.tiny import examples_of, model_of, stream_of
from warmstart.models.pretrained.base import Base
from warmstart.regimes.full import Full
from warmstart.regimes.starts import Pretrained
from warmstart.training.config import TrainConfig
from warmstart.training.loop import start_training, train
from warmstart.training.run_data import RunData

CONFIG = TrainConfig(steps=5, lr=1e-3, batch_size=8, warmup=0.4, weight_decay=0.1, clip=0.5, seed=4)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_training_all_weights_equals_a_loop_written_by_hand(
    kind: str, base: Base, regression: RunData, classes: RunData
) -> None:
    run_data = regression if kind == "regression" else classes
    ours, rates = model_of(Full(), Pretrained(base).body(0), run_data.task)
    theirs = copy.deepcopy(ours).train()
    stream = stream_of(examples_of(run_data, base), CONFIG)

    losses = [step.loss for step in train(start_training(ours, rates, CONFIG), run_data.task, stream, CONFIG)]

    embeddings = theirs.body.embeddings
    tables = [embeddings.word_embeddings, embeddings.position_embeddings, embeddings.token_type_embeddings]
    undecayed = {id(table.weight) for table in tables} | {id(p) for p in theirs.parameters() if p.ndim == 1}
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in theirs.parameters() if id(p) not in undecayed], "weight_decay": 0.1},
            {"params": [p for p in theirs.parameters() if id(p) in undecayed], "weight_decay": 0.0},
        ],
        fused=True,
    )
    by_hand = []
    for step, factor in enumerate([1 / 2, 1.0, 1.0, 2 / 3, 1 / 3]):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * factor
        batch = stream.at(step)[0]
        torch.manual_seed(hash((4, step, 0)))
        optimizer.zero_grad()
        hidden = theirs.body(**batch.inputs).last_hidden_state
        mask = batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"])).unsqueeze(-1).float()
        outputs = theirs.head((hidden * mask).sum(1) / mask.sum(1))
        if kind == "regression":
            loss = (outputs[:, 0] - batch.targets).abs().mean()
        else:
            loss = torch.nn.functional.cross_entropy(outputs, batch.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        by_hand.append(loss.item())

    assert losses == by_hand
    for (name, our), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(our, their), name
