"""Standard errors, tests and intervals of a fitted model, computed in the q dimensions of M(θ)."""
