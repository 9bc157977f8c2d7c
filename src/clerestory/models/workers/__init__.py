"""A pool of workers: processes that each hold one model and draw parts of the same call.

    model = load("lancet", workers=8)       # Ray starts them here; ray="auto" joins a cluster
    runs = model.sweep(prompts, seeds, edit_sets)
    model.close()

`cluster.py` joins a cluster of Ray, `worker.py` is what runs there, `pool.py` shares out the parts.
"""
