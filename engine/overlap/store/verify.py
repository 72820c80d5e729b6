"""Reads everything a store holds and says what is not as it was written."""

from dataclasses import dataclass

from overlap.errors import CorruptFileError, StoreMismatchError
from overlap.store.schema import stored_problems
from overlap.store.store import Store, key_in_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A stored file and what is wrong with it."""

    name: str
    problem: str


def verify(store: Store, *, deep: bool) -> tuple[int, list[Damage]]:
    """Checks every result file whole, and with `deep` every logits file too.

    Returns:
        How many files were read, and the damaged ones.
    """
    prefixes = ["results", "logits"] if deep else ["results"]
    names = [name for prefix in prefixes for name in store.objects.names(prefix)]
    damage = [Damage(name=name, problem=problem) for name in names for problem in _problems(store, name)]
    return len(names), damage


def _problems(store: Store, name: str) -> list[str]:
    try:
        stored = store.read(name)
    except (CorruptFileError, StoreMismatchError) as error:
        return [str(error)]
    return stored_problems(stored, key_in_name(name))
