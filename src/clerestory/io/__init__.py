"""File input and output: bounded reads, atomic writes, schema validation.

    with atomic_folder(out) as part:          # becomes `out` when the block ends without an error
        (part / "result.json").write_text(json.dumps(content))
    content = read_json(out / "result.json", EvidenceError)

Files from others are untrusted: `reading.py` limits their size and rejects links and pipes.
"""
