"""From a world's table to a text-to-image model: the stages of Lancet's training.

    renders ─▶ tokenizer ─▶ autoencoder ─▶ vision ─▶ text ─▶ prior ─┐
                    │                        │                      ├─▶ assemble ─▶ weights/
                    └─▶ classifiers a, b     └─▶ decoder ─▶ eye ────┘

Each stage is one file with one `Stage`; `loop.fit` trains any of them and resumes it after a kill:

    settings = Settings.named("smoke")
    train(world, art_folder, work_folder, out_folder, settings)

The image encoder that CLIP trains is convolutional, since a vision transformer learns these
pictures slowly; the folder's `CLIPVisionModelWithProjection` is distilled from it (stage "eye").
"""
