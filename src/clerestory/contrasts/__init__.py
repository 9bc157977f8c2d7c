"""Findings: which unit stands for a concept, with the evidence that it is no accident.

Contents (subjects, say) come with and without the concept in several phrasings, and with a decoy
that has the same words but not the concept. Half of the contents and phrasings pick units, the
other half says how good they are; seeds are averaged first, for the content is the replicate.

    found = find(recording, shown="style == 'ink'", absent="style == 'plain'", match="subject")
    found.picked("direction").detects.auroc  # the one picked before the report half was looked at
    found.direction("prior/embedding")       # [unit], ready for `steering.Add`
    found.save(Path("findings")); Findings.load(Path("findings"))

`contrast` is the same on arrays in memory, with a table that says of each sample what it is.
Whether a unit *controls* the picture is another question, which changing it answers:

    causes = verify(found, model, "lancet:style", "stained glass")
    causes.sentences()

`trace` maps where and when the pictures of two lists of prompts part, without findings.
Without a concept in mind, `group(recording, "lancet:mood")` sorts the pictures of random prompts,
and says what those of one class share.
"""

from clerestory.contrasts.contrast import contrast
from clerestory.contrasts.direction_methods import ways
from clerestory.contrasts.find import find
from clerestory.contrasts.findings import Detects, Finding, Findings, Null
from clerestory.contrasts.group import group
from clerestory.contrasts.groups import Groups
from clerestory.contrasts.matching import Halves, Sides, halves

__all__ = [
    "Detects",
    "Finding",
    "Findings",
    "Groups",
    "Halves",
    "Null",
    "Sides",
    "contrast",
    "find",
    "group",
    "halves",
    "ways",
]
