"""Search algorithms, one a file; each registers itself under the name that users give."""
