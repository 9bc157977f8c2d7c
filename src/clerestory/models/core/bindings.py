"""What a family was built on, torch modules above all, to notice where the pipeline has others now.

A LoRA wraps layers anew, textual inversion replaces embeddings, and users replace whole parts; a
hook on the module from before would never be called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from clerestory.models.core.family import Family
from clerestory.models.core.pipeline_state import pipeline_parts, prompt_templates

__all__ = ["Bindings"]


@dataclass(frozen=True, eq=False)
class Bindings:
    """The parts of a pipeline, and the way through them to each site.

    Attributes:
        parts: Networks and tokenizers by name. A scheduler is looked up when it is used.
        edges: By module and the name of a child on the way to a site: the child.
        templates: Templates of prompts by name, which tell the prompt's own tokens.
    """

    parts: dict[str, Any]
    edges: dict[tuple[nn.Module, str], nn.Module]
    templates: dict[str, str]

    @classmethod
    def of(cls, family: Family) -> Bindings:
        """The bindings of a family as it is now.

        Args:
            family: The family.

        Returns:
            Its parts and edges; only parts where a site's path is not one of modules.
        """
        edges: dict[tuple[nn.Module, str], nn.Module] = {}
        for path in {hook.site.path for hook in family.site_hooks}:
            root, *names = path.split(".")
            module = getattr(family.pipeline, root, None) if root else None
            for name in names:
                if not isinstance(module, nn.Module):
                    break
                child = module._modules.get(name)
                if child is None:
                    break
                edges[module, name] = child
                module = child
        return cls(_bound_parts(family.pipeline), edges, prompt_templates(family.pipeline))

    def hold(self, pipeline: Any) -> bool:
        """Whether a pipeline still has these very modules, unwrapped, and these templates.

        Args:
            pipeline: The pipeline.

        Returns:
            False where a part, or a module on the way to a site, is another one, wrapped or gone,
            or a template is another one.
        """
        parts = _bound_parts(pipeline)
        return (
            self.templates == prompt_templates(pipeline)
            and parts.keys() == self.parts.keys()
            and all(part is self.parts[name] for name, part in parts.items())
            and all(
                parent._modules.get(name) is child for (parent, name), child in self.edges.items()
            )
        )

    def changed_parts(self, pipeline: Any) -> list[str]:
        """The parts that a pipeline has no longer as they are here.

        Args:
            pipeline: The pipeline.

        Returns:
            Names of parts that are others or gone, or in which a module on the way to a site is.
            What `torch.compile` wraps around a module is no other module.
        """
        parts = _bound_parts(pipeline)
        changed = {
            name
            for name in (*self.parts, *parts)
            if _unwrap(parts.get(name)) is not _unwrap(self.parts.get(name))
        }
        parents = {
            parent
            for (parent, name), child in self.edges.items()
            if _unwrap(parent._modules.get(name)) is not _unwrap(child)
        }
        if parents:
            changed |= {
                name
                for name, part in self.parts.items()
                if isinstance(part, nn.Module) and not parents.isdisjoint(part.modules())
            }
        return sorted(changed)


def _bound_parts(pipeline: Any) -> dict[str, Any]:
    return {
        name: part for name, part in pipeline_parts(pipeline).items() if "scheduler" not in name
    }


def _unwrap(part: Any) -> Any:
    """The module that was compiled, of what `torch.compile` gives for it."""
    return getattr(part, "_orig_mod", part)
