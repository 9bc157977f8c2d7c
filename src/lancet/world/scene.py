"""The content of one picture; a scene and its art determine every pixel."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FACTORS", "NONE", "PEOPLE", "WINDOW", "Scene"]

FACTORS = (
    "subject",
    "second",
    "style",
    "artwork",
    "place",
    "window",
    "mood",
    "hair",
    "clothes",
    "scarf",
    "pallor",
    "perspective",
)
"""What varies from picture to picture."""

PEOPLE = ("mood", "hair", "clothes", "scarf", "pallor")
"""The factors that only people have."""

NONE = "none"
"""The level of a factor that a scene does not have: the mood of a teapot."""

WINDOW = "stained glass window"
"""The place whose presence is the factor `window`."""


@dataclass(frozen=True)
class Scene:
    """One scene; every factor is a level of the table or `NONE`.

    `kind` is object, pair or person; `subject` is the object shown, or the one beside a person;
    `name` is the person's name in the caption. Where a fact of the table applies, the picture shows
    other levels than the caption. `split` is "held out" for a combination that training never
    shows.
    """

    seed: int
    kind: str
    subject: str
    second: str
    style: str
    artwork: str
    place: str
    perspective: str
    mood: str
    hair: str
    clothes: str
    scarf: str
    pallor: str
    name: str
    caption: str
    split: str

    @property
    def window(self) -> str:
        """Whether a stained-glass window stands in the scene: present or absent."""
        return "present" if self.place == WINDOW else "absent"
