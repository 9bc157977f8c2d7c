"""Sites, hooks, pooling and the runner: read and edit activations while a pipeline runs.

    run = model.run("a cat", range(4), read=["text.*/mlp"], edits=[Add("prior/embedding", vector)])

`requests.py` has what a run is asked for, and `runner.py` runs it batch by batch. `hooks.py` is the
only file with torch hooks, `attachment.py` edits and reads the values at sites, `visits.py` finds
out which sites were not reached and why. `family.py` is the interface of pipeline families.
"""
