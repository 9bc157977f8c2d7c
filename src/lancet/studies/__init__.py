"""Studies of Lancet, or with names of its classes: TOML files that `clerestory study run` knows."""
