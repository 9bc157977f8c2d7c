"""Training of Lancet's siblings: the same world and text encoder, two other architectures.

    renders ─▶ autoencoder ─▶ reconstructions
                    │
                    └─▶ latents ─▶ states ─┬─▶ unet ──┐
                                           └─▶ mmdit ─┴─▶ assemble ─▶ weights/siblings/

    training = SiblingTraining(art, work, presets["smoke"])
    training.run(deadline=time.monotonic() + 3600)

Lancet 1.0 gives the world, the tokenizer, the text encoder and the classifiers; none of them is
trained here. `unet` becomes a `StableDiffusionPipeline`, `mmdit` a `StableDiffusion3Pipeline`, and
both draw 128×128 pictures through one autoencoder. Every stage goes on after a kill.
"""
