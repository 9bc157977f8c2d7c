"""Opens a model from a plug-in name, hub id, folder, single file or existing pipeline.

    model = load("lancet")
    model = load("path/to/checkpoint.safetensors", dtype="float16")

`load.py` decides what a source is, `pipelines.py` builds the pipeline, `files.py` and `pickling.py`
check files before anything is read from them.
"""
