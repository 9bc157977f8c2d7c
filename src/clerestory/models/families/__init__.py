"""One file per diffusers pipeline family: its site table and its encode and draw stages.

    @families.register("KandinskyV22CombinedPipeline")
    class Unclip(Family): ...

A new family is a new file here with a subclass of `Family`, registered under the class names of its
pipelines; another package registers one in the entry-point group `clerestory.families`.
"""
