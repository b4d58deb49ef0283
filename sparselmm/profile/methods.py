"""Methods of `LinearMixedModelResults`: profile likelihood and intervals."""


class ProfileMethods:
    """Profile likelihood and intervals."""
