"""Methods of `LinearMixedModelResults`: simulation, refits and the bootstrap."""


class ResamplingMethods:
    """Simulation, refits and the bootstrap."""
