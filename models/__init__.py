"""The models that come with Rayfold, in the form that a user writes: README.md tells how."""

if __name__ != "rayfold.models":
    raise ImportError(
        f"this package is rayfold.models, but it was imported as {__name__!r}: "
        "write `from rayfold.models.cnn import CNN`, with Rayfold installed."
    )
