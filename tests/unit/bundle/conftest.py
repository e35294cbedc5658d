from tests.small_ensembles import (  # noqa: F401
    bundle,
    classification,
    exported,
    make,
    regression,
    shift_class,
)
