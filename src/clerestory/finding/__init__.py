"""Findings: which unit stands for a concept, with the evidence that it is no accident.

Contents (subjects, say) come with and without the concept in several phrasings, and with a decoy
that has the same words but not the concept. Half of the contents and phrasings pick units, the
other half says how good they are; seeds are averaged first, for the content is the replicate.

    found = find(activations, samples)       # samples: prompt, content, phrase, arm, half, seed
    found.picked("direction").detects.auroc  # the one picked before the report half was looked at
    found.directions["prior/embedding"]      # [unit], ready for `steering.Add`
    found.save(Path("findings")); Findings.load(Path("findings"))
"""

from clerestory.finding.base import Detects, Finding, Findings, Null
from clerestory.finding.contrast import find
from clerestory.finding.pairing import Halves, Sides, halves

__all__ = ["Detects", "Finding", "Findings", "Halves", "Null", "Sides", "find", "halves"]
