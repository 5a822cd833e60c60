"""KV cache: which tokens do prompts share?"""

import numpy as np

from warmstart.generation.kv_cache import shared_beginning


def test_prompts_share_what_they_begin_with() -> None:
    one, other = np.array([5, 6, 7, 8, 9]), np.array([5, 6, 1, 8])
    assert shared_beginning(one, other).tolist() == [5, 6]
    assert shared_beginning(one, one[:3]).tolist() == [5, 6, 7]
    assert shared_beginning(one, np.array([4])).tolist() == []
