"""What the tests of families share: edits, hooks and calls counted."""

from __future__ import annotations

import torch

from clerestory.edits import Add

PROMPTS = ["a cat", "a dog by me", "cat"]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Same:
    """Returns what it gets."""

    def __init__(self, site, branch="both"):
        self.site, self.branch = site, branch

    def __call__(self, value):
        return value


class Boom(Same):
    def __call__(self, value):
        raise self.branch_error

    branch_error = RuntimeError("boom")


class Ramp(Same):
    """Adds a large vector, more of it from position to position.

    The same vector on all keys would change nothing: softmax takes no notice of what all share.
    """

    def __call__(self, value):
        vector = 30 * torch.randn(value.shape[-1], generator=torch.Generator().manual_seed(3))
        return value + torch.linspace(1, 2, value.shape[1])[:, None] * vector


class OneRow(Ramp):
    """The same in one row of the batch only."""

    def __init__(self, site, row):
        super().__init__(site, "cond")
        self.row = row

    def __call__(self, value):
        changed = value.clone()
        changed[self.row] = super().__call__(value[self.row : self.row + 1])[0]
        return changed


def far(model, site, length=30.0):
    """An edit with a large vector."""
    units = model.sites[site].shape[1]
    return Add(site, length * torch.randn(units, generator=torch.Generator().manual_seed(3)))


def hooks_on(pipeline):
    """Every hook on every module; transformers' own stay for good, once they are there."""
    return [
        (part, name, kind, key)
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
        for name, inner in module.named_modules()
        for kind in HOOKS
        for key in getattr(inner, kind)
    ]


def calls(model, monkeypatch):
    """How often each stage's network was called."""
    counted = {}
    for stage, root in model.family.stage_modules.items():
        counted[stage] = 0

        def forward(*args, _stage=stage, _forward=root.forward, **kwargs):
            counted[_stage] += 1
            return _forward(*args, **kwargs)

        monkeypatch.setattr(root, "forward", forward)
    return counted
