"""Select endpoint: which chat model elsewhere may rows be sent to, and how many tokens may that take?"""

from dataclasses import replace

from warmstart.data.rows.split import Splits
from warmstart.data.schema.schema import Schema
from warmstart.errors import UsageError
from warmstart.request.request import Request
from warmstart.runtime.endpoint import QUESTION_BYTES_PER_TOKEN, Endpoint
from warmstart.runtime.sampling import spread_places

ROWS_ESTIMATED_FROM = 200  # rows


def planned_endpoint(request: Request, schema: Schema, splits: Splits) -> Endpoint:
    """What was named, with how many requests and tokens it will take at most.

    Raises UsageError for what is no address, or holds a password; and, unless this is only a plan, where more tokens
    are needed than were allowed.
    """
    from warmstart.baselines.prompted import PROMPT_CHOSEN_ON, PROMPT_EXAMPLES
    from warmstart.baselines.prompted_endpoint import LABEL_TOKENS_ALLOWED, LONGEST_TEXT
    from warmstart.runs.final_evaluation import TRAIN_ROWS_SCORED

    named = request.prompted_endpoint or "", request.prompted_model
    endpoint = Endpoint.of(*named, request.prompted_tokens, request.prompted_price)
    sizes = [len(splits.train)] if not request.rows or request.rows == "auto" else [*request.rows]
    runs = request.seeds * (4 if request.rows == "auto" else len(sizes))
    scored = len(splits.val) + len(splits.test) + min(TRAIN_ROWS_SCORED, max(sizes))
    chosen = min(PROMPT_CHOSEN_ON, len(splits.val)) * (len(PROMPT_EXAMPLES) - 1)
    some = splits.train.take(spread_places(ROWS_ESTIMATED_FROM, len(splits.train))).texts
    text = sum(len(str(each)[:LONGEST_TEXT].encode()) for each in some) / len(some) / QUESTION_BYTES_PER_TOKEN
    labels = {str(each) for each in splits.train.targets} if schema.task == "classification" else {"0"}
    instruction = 30 + sum(map(len, labels)) / QUESTION_BYTES_PER_TOKEN
    tokens = instruction + (1 + max(PROMPT_EXAMPLES)) * (text + 10) + LABEL_TOKENS_ALLOWED
    requests = runs * (scored + chosen)
    total = requests * tokens
    money = "" if endpoint.price is None else f", for about ${total / 1e6 * endpoint.price:.2f}"
    if endpoint.price is not None:
        money += f" (at most ${endpoint.most_tokens / 1e6 * endpoint.price:.2f})"
    said = (
        f"`prompted-endpoint` sends rows to {endpoint.url}: up to about {requests:,.0f} requests of "
        f"{total / 1e6:.2g} million tokens in all{money}. It stops at {endpoint.most_tokens / 1e6:.2g} million."
    )
    if total > endpoint.most_tokens and request.command not in ("plan", "check"):
        raise UsageError(
            f"{said[:-1]}, which is fewer.", "allow more with --prompted-tokens, or use fewer rows or seeds"
        )
    return replace(endpoint, planned_tokens=total, note=said)
