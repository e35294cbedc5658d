"""The code of a study as its journal keeps it, and how code of today differs from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rayfold.user_code.source import SourceCode, digest_of, digests_of


@dataclass(frozen=True, kw_only=True)
class CodeRecord:
    """What is recorded of a model and of what trains it: digests and versions.

    Attributes:
        reference: What the model's class is called.
        digest: Digest of all files; empty for an installed module, which its packages' versions
            stand for, and for a class whose text is unknown.
        files: SHA-256 of each file.
        packages: Version of each package that the files import, or that the module belongs to.
    """

    reference: str
    digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: SourceCode, *others: SourceCode) -> Self:
        """Return the record of a model, and of all else that is the user's own."""
        own = [source for source in others if not source.is_ours]
        files, packages = all_files(model, *own), dict(model.packages)
        for source in own:
            packages |= source.packages
        return cls(
            reference=model.reference,
            digest=digest_of(files),
            files=digests_of(files),
            packages=dict(sorted(packages.items())),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        return cls(**{name: values[name] for name in ("reference", "digest", "files", "packages")})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "files": dict(self.files),
            "packages": dict(self.packages),
        }


def all_files(model: SourceCode, *others: SourceCode) -> dict[str, str]:
    """Return the text of each file, one that several use once.

    Where two folders have a file of the same name and other text, its kind stands before it.
    """
    files = dict(model.files)
    for source in others:
        for name, text in source.files.items():
            place = name
            while files.get(place, text) != text:
                place = f"{source.what}/{place}"
            files[place] = text
    return files


def changed_files(before: CodeRecord, now: CodeRecord) -> tuple[str, ...]:
    """Return how files differ, a text for each: ``"net.py has changed"``."""
    texts = []
    for name in sorted({*before.files, *now.files}):
        if name not in now.files:
            texts.append(f"{name} is no longer there or imported")
        elif name not in before.files:
            texts.append(f"{name} is new")
        elif before.files[name] != now.files[name]:
            texts.append(f"{name} has changed")
    return tuple(texts)


def changed_packages(before: CodeRecord, now: CodeRecord) -> tuple[str, ...]:
    """Return which packages have another version now: ``"timm 1.0.1 -> 1.0.2"``."""
    return tuple(
        f"{name} {before.packages[name]} -> {now.packages[name]}"
        for name in sorted({*before.packages} & {*now.packages})
        if before.packages[name] != now.packages[name]
    )
