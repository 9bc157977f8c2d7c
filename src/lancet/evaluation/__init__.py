"""How well a Lancet draws: rates by its classifiers, stage by stage, and its planted facts."""
