"""Motion over time (FastHMR): a variational autoencoder of clips and a diffusion model of its latents.

Frames of one clip are `F`, latents `n`, widths `d`; everything is batch first.
"""
