"""Sites, hooks, pooling and the runner: read and edit activations while a pipeline runs.

    run = model.run("a cat", range(4), read=["text.*/mlp"], edits=[Add("prior/embedding", vector)])

`runner.py` runs samples batch by batch. `hooks.py` is the only file with torch hooks,
`attachment.py` edits and reads the values at sites, `visits.py` tells which sites were not reached
and why. `family.py` is the interface that a pipeline family implements.
"""
