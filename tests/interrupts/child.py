"""A command in a process of its own, with a tiny model: `python -m interrupts.child WORDS`."""

import sys

import clerestory.models
from clerestory.cli.main import main

if __name__ == "__main__":
    import torch
    from tiny import tiny_model

    torch.set_num_threads(1)
    model = tiny_model()
    clerestory.load = clerestory.models.load = lambda *_, **__: model
    sys.stderr.write("ready\n")
    main()
