"""What pretraining builds where nothing is given: two wide layers that denoise.

``benchmarks/defaults.py`` measures them against the reference network of the README.
"""

WIDE_UNITS, WIDE_LATENT_DIM, MASKED_SHARE = (500,), 500, 0.7
