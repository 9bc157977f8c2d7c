"""Contrasts: find units that detect a concept, with evidence from held-out items.

Items (such as subjects) occur with and without the concept in several templates, and in hard
negatives, which share words with the positive prompts but not the concept. One half of the items
and templates selects units, the other half evaluates them. Seeds are averaged first, since the item
is the unit of replication.

    findings = find(
        recording, positive="style == 'ink'", negative="style == 'plain'", match="subject"
    )
    findings.top_ranked("direction").detects.auroc  # ranked before the evaluation half was read
    findings.direction("prior/embedding")           # [unit], ready for `clerestory.edits.Add`
    findings.save(Path("findings")); Findings.load(Path("findings"))

`contrast` does the same with arrays in memory and a table of samples. Without a concept to start
from, `group(recording, classifier="lancet:mood")` groups the pictures of random prompts by their
predicted class, and finds the units that separate each group. Whether a unit also *controls* the
picture is another question: `clerestory.causal.verify` answers it by changing the unit.

To read the package: `queries`, `predictions` and `samples` assign samples to arms and halves,
`pairs` averages them into items, `contrast` ranks and tests units, `findings` holds the result, and
`find` puts these together for a recording. `group` and the modules `group_*` do so for groups.
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
