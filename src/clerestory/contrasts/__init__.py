"""Contrasts: find units that detect a concept, with held-out evidence.

Items (subjects, say) come with and without the concept, worded in several ways, and with hard
negatives that have the same words but not the concept. Half of the items and phrases select units,
the other half tests them. Items and templates are random factors: a claim is about others than
those that were recorded.

    findings = find(
        recording, positive="style == 'ink'", negative="style == 'plain'", match="subject"
    )
    findings.top_ranked("direction").detects.auroc  # chosen before the evaluation half was read
    findings.direction("prior/embedding")           # [unit], ready for `clerestory.edits.Add`
    findings.save(Path("findings")); Findings.load(Path("findings"))

`contrast` is the same on arrays in memory, with a table that says for each sample what it is.
Without a concept in mind, `group(recording, classifier="lancet:mood")` sorts the pictures of random
prompts by predicted class, and finds what those of one class share. Whether a unit *controls* the
picture is another question, which `clerestory.causal.verify` answers by changing it.
"""

from clerestory.contrasts.arms import ArmValues
from clerestory.contrasts.contrast import contrast
from clerestory.contrasts.design_makers import arm_grid, cell_design
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.evidence import Detection, Finding, SiteFigure
from clerestory.contrasts.find import find
from clerestory.contrasts.findings import Findings
from clerestory.contrasts.group import group
from clerestory.contrasts.groups import Groups
from clerestory.contrasts.samples import ContrastSamples

__all__ = [
    "ArmValues",
    "ContrastSamples",
    "Detection",
    "Finding",
    "Findings",
    "Groups",
    "SiteFigure",
    "arm_grid",
    "cell_design",
    "contrast",
    "direction_methods",
    "find",
    "group",
]
