"""Contrasts: find units that detect a concept, with held-out evidence.

Items (subjects, say) come with and without the concept in several templates, and with hard
negatives that have the same words but not the concept. Half of the items and templates select
units, the other half evaluates them; seeds are averaged first: the item is the unit of
replication.

    findings = find(
        recording, positive="style == 'ink'", negative="style == 'plain'", match="subject"
    )
    findings.top_ranked("direction").detects.auroc  # ranked before the evaluation half was read
    findings.direction("prior/embedding")           # [unit], ready for `clerestory.edits.Add`
    findings.save(Path("findings")); Findings.load(Path("findings"))

`contrast` is the same on arrays in memory, with a table that says for each sample what it is.
Without a concept in mind, `group(recording, classifier="lancet:mood")` sorts the pictures of random
prompts by predicted class, and finds what those of one class share. Whether a unit *controls* the
picture is another question, which `clerestory.causal.verify` answers by changing it.
"""

from clerestory.contrasts.contrast import contrast
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.find import find
from clerestory.contrasts.findings import Detection, Finding, Findings, FlipTest
from clerestory.contrasts.group import group
from clerestory.contrasts.groups import Groups
from clerestory.contrasts.pairs import ArmValues, Pairing, pair_samples

__all__ = [
    "ArmValues",
    "Detection",
    "Finding",
    "Findings",
    "FlipTest",
    "Groups",
    "Pairing",
    "contrast",
    "direction_methods",
    "find",
    "group",
    "pair_samples",
]
