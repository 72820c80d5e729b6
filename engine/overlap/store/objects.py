"""The seam of a store: named blobs that are created once, replaced whole, or read."""

from typing import BinaryIO, Protocol


class MissingObjectError(KeyError):
    """No object has this name."""


class Objects(Protocol):
    """A place for named blobs. Names are relative, with `/` between folders.

    Every implementation guarantees that a reader sees an object whole or not at all, at every moment
    and after any crash of the writer; `tests/contract` holds each of them to it.
    """

    url: str

    def names(self, prefix: str) -> list[str]:
        """The names below a folder (`results/v1/digits`), sorted; empty if there is no such folder."""
        ...

    def stamps(self, prefix: str) -> dict[str, str]:
        """What `names` gives, in that order, each with a short text that changes whenever its content does.

        An object that comes or goes meanwhile may be listed or not; that is no error. Stamps of two
        different objects or places say nothing about each other.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A seekable reader.

        Raises:
            MissingObjectError: there is no such object.
        """
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Publishes an object unless the name is taken; of all rivals exactly one gets True."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Publishes an object, whether the name is taken or not."""
        ...

    def delete(self, name: str) -> None:
        """Removes an object; does nothing if there is none."""
        ...
