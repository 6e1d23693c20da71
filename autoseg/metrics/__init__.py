"""How well a prediction agrees with the truth: pure functions of masks and spacing."""

TOLERANCE_MM = 2.0  # of the normalised surface Dice, by default
