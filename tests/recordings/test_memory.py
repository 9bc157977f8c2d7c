import resource

import pytest

from recordings.small import recorded
from recordings.test_killed import CONTEXT

LIMIT = 200e6
MANY = [f"a cat {number}" for number in range(20_000)]


def memory_for_few_and_many(out, pipe):
    how = {"pictures": False, "sites": "text.*/mlp", "seeds": (0,), "batch": 64, "chunk": 512}
    recorded(f"{out}/few", MANY[:200], **how)
    few = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    recorded(f"{out}/many", MANY, **how)
    pipe.send((few * 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples(tmp_path):
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=memory_for_few_and_many, args=(str(tmp_path), theirs))
    process.start()
    few, many = ours.recv()
    process.join()
    assert many - few < LIMIT
