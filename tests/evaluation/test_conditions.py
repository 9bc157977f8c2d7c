"""Which prompts and seeds a condition draws on a design."""

import numpy as np
import pytest

from clerestory.errors import EvidenceError, SeedError
from clerestory.evaluation import Condition, Design


def test_a_crossed_design_has_every_item_in_every_template_with_every_seed():
    design = Design.crossed(["a cat", "a ship"], (0, 7), ["{item}", "we see {item}"])
    prompts = Condition("ink", "an ink drawing of {item}").prompts(design)
    assert len(design) == 8
    assert prompts[:4] == [
        "an ink drawing of a cat",
        "an ink drawing of a cat",
        "we see an ink drawing of a cat",
        "we see an ink drawing of a cat",
    ]
    assert design.cell_seeds == [0, 7, 0, 7, 0, 7, 0, 7]
    assert prompts[-1] == "we see an ink drawing of a ship"


def test_in_a_paired_design_each_item_has_a_seed_of_its_own():
    design = Design.paired(["a", "b", "c"], [5, 6, 5])
    assert (len(design), design.cell_seeds) == (3, [5, 6, 5])
    assert design.select([0, 1]) == Design.paired(["a", "b"], [5, 6])


def test_a_suffix_stands_after_the_whole_prompt():
    condition = Condition("found", "a {item}", suffix="like glass")
    assert condition.prompt("cat", "we see {item}, drawn") == "we see a cat, drawn like glass"


def test_cells_are_averaged_within_their_item():
    design = Design.crossed(["a", "b"], (0, 1))
    assert design.item_means(np.array([1.0, 3.0, 5.0, 5.0])).tolist() == [2, 5]
    assert design.by_item(np.zeros((4, 2))).shape == (2, 2, 2)


def test_templates_name_the_item_once_and_items_have_equally_many_seeds():
    with pytest.raises(EvidenceError, match=r"must contain \{item\} exactly once"):
        Condition("words", "a cat")
    with pytest.raises(EvidenceError, match=r"must contain \{item\} exactly once"):
        Design.crossed(["a"], 0, ["{item} and {item}"])
    with pytest.raises(EvidenceError, match="same number of seeds"):
        Design(("a", "b"), ((0,), (1, 2)))
    with pytest.raises(SeedError, match="twice"):
        Design.crossed(["a"], (1, 1))


def test_items_have_seeds_of_their_own_which_their_templates_share():
    design = Design.for_items(["a cat", "a ship"], 2, templates=["{item}", "we see {item}"])
    cat, ship = design.seeds
    assert len({*cat, *ship}) == 4
    assert design.cell_seeds == [*cat, *cat, *ship, *ship]
    # The same whatever else is drawn, so that a cache serves both designs.
    assert Design.for_items(["a ship", "a dog"], 2).seeds[0] == ship
    assert Design.for_items(["a ship"], 1).seeds[0] == ship[:1]
    assert set(Design.for_items(["a ship"], 2, seed=1).seeds[0]).isdisjoint(ship)
    with pytest.raises(SeedError, match="at least one"):
        Design.for_items(["a cat"], 0)
