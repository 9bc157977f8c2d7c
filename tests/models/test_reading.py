import subprocess
import sys

import pytest

GROWTH = """
import resource, clerestory
model = clerestory.load("lancet")
prompts = [f"a cat {number}" for number in range(160)]
def read(count):
    model.run(prompts[:count], read="prior.*", pictures=False, batch=32, prior_steps=5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
few = read(32)
print(read(160) - few)
"""


@pytest.mark.slow
@pytest.mark.weights
def test_what_is_read_takes_its_own_size_and_no_more():
    command = [sys.executable, "-W", "ignore", "-c", GROWTH]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # 160 samples × 5 steps × 30 sites of the prior are 28 MB; they once took 849 MB.
    assert int(done.stdout) < 250
