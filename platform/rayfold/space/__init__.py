"""Search spaces: domains, conditions, and the encoding to and from the unit cube."""

from rayfold.space.conditions import Condition
from rayfold.space.domains import Choice, Domain, Float, Int, domain_from_dict
from rayfold.space.files import load_space
from rayfold.space.space import SearchSpace
from rayfold.space.values import plain_config, plain_parameters

__all__ = [
    "Choice",
    "Condition",
    "Domain",
    "Float",
    "Int",
    "SearchSpace",
    "domain_from_dict",
    "load_space",
    "plain_config",
    "plain_parameters",
]
