"""Items that a concept is drawn with: none mentions it, and parts do not meet."""

from lancet.items import contents


def test_items_never_mention_the_concept_and_halves_do_not_meet():
    styles = contents(60, "style")
    assert len(set(styles)) == 60
    assert not any(word in text for text in styles for word in ("stained", "ink", "picture of"))
    moods = contents(30, "mood", "style", people=True)
    assert not any(word in text for text in moods for word in ("happy", "scared", "calm", "tired"))
    assert contents(30, "style", start=30) == styles[30:]


def test_without_factors_every_caption_counts():
    captions = contents(20)
    assert len(set(captions)) == 20
    # With a factor the same ones are gone through, and some left out.
    assert [caption for caption in contents(20, "style") if caption in captions]
