"""Search algorithms, one per file; each registers itself under the name that users give."""
