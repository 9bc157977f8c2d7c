import pytest

from clerestory.errors import SiteError
from clerestory.models.core.addresses import Address, SiteSelection, parse, select

UNITS = {
    "text.blocks.0/mlp": 8,
    "text.blocks.0/resid": 4,
    "text.blocks.1/mlp": 8,
    "prior/embedding": 4,
}


def test_an_address_is_read_with_its_units_and_step():
    assert parse(" text.blocks.3/mlp[311]@5 ") == Address("text.blocks.3/mlp", (311,), (5,))
    assert parse("text.blocks.3/mlp[4,1:3]@*") == Address("text.blocks.3/mlp", (1, 2, 4), None)
    assert parse("denoiser/latent@2:4") == Address("denoiser/latent", None, (2, 3))


def test_a_star_stands_for_anything_and_sites_come_in_the_models_order():
    assert list(select("prior/embedding,text.*/mlp", UNITS)) == [
        "text.blocks.0/mlp",
        "text.blocks.1/mlp",
        "prior/embedding",
    ]


def test_commas_between_units_do_not_part_addresses():
    found = select("text.blocks.0/mlp[1,3],prior/embedding@2", UNITS)
    assert found == {
        "text.blocks.0/mlp": SiteSelection((1, 3), None),
        "prior/embedding": SiteSelection(None, (2,)),
    }


def test_a_site_asked_for_twice_gives_what_either_wants():
    assert select(["*/mlp[1]", "text.blocks.0/mlp[5]"], UNITS)["text.blocks.0/mlp"].units == (1, 5)
    assert select(["*/mlp[1]", "text.blocks.0/mlp"], UNITS)["text.blocks.0/mlp"].units is None


def test_an_unknown_site_is_refused_with_the_nearest():
    with pytest.raises(SiteError, match=r"'prior/embeding'\. Did you mean prior/embedding\?"):
        select("prior/embeding", UNITS)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "text.blocks.0/mlp[", "text.blocks.0/mlp[x]", "a@b", "a[3:1]", "a[1:2:3]", "a[,]"],
)
def test_what_is_no_address_is_refused_in_one_line(text):
    with pytest.raises(SiteError) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_a_unit_beyond_the_site_is_refused():
    with pytest.raises(SiteError, match="no unit 8; its 8 units are 0 to 7"):
        select("text.blocks.0/mlp[8]", UNITS)


def test_one_site_means_one():
    with pytest.raises(SiteError, match="names 2 sites"):
        select("*/mlp", UNITS, single=True)


def test_a_misspelt_site_of_many_is_told_the_nearest_five_and_where_all_are_listed():
    many = {f"denoiser.blocks.{index}/{tap}": 4 for index in range(20) for tap in ("mlp", "q")}
    many |= {f"denoiser.blocks.0/mlp:{index}": 4 for index in range(9)}
    with pytest.raises(SiteError) as error:
        select("denoiser.block.3/mpl", many)
    message = str(error.value)
    assert "Did you mean denoiser.blocks.3/mlp, " in message
    assert message.count("denoiser.blocks.") == 5
    assert message.endswith("? There are 40 in all, which `clerestory sites` lists.")
    with pytest.raises(
        SiteError, match=r"^No site that was read is called 'xyz'\. There are 40 in"
    ):
        select("xyz", many, noun="site that was read")
