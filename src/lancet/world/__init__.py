"""The world that Lancet is taught: emoji art in scenes, in styles, with planted facts.

Everything that may occur, how often, and how captions call it stands in one table, `world.toml`;
another table makes another world.

    world = World.load()                      # the table, typed
    scene = sample(world, seed=7)             # what one picture shows, and its caption
    art = Art.open(Path("build/art"))         # sprites, made by `make art`
    picture = draw(art, scene)                # [64, 64, 3] uint8, the same bytes every time
"""
