"""Reads what a store holds and says what is not as it was written.

A launch does not read everything again each time: the store remembers the stamp under which each file
was last known to be whole, and what has another stamp is read. `verify` believes no stamp.
"""

import io
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from overlap.errors import CorruptFileError, StoreMismatchError
from overlap.store.addresses import reading_threads
from overlap.store.objects import MissingObjectError
from overlap.store.rows import Outputs
from overlap.store.schema import read_table, stored_problems
from overlap.store.seals import parquet_problem, weights_problem
from overlap.store.store import Store, key_in_name

RESULTS, LOGITS, WEIGHTS = "results", "logits", "weights"
EVERYTHING = (RESULTS, LOGITS, WEIGHTS)
STAMPS = ".stamps.json"
_SUSPICIOUS = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A stored file and what is wrong with it; `newer` when all that is wrong is that we cannot read it."""

    name: str
    problem: str
    newer: bool = False


def verify(store: Store, *, deep: bool) -> tuple[int, list[Damage]]:
    """Checks every result file whole, and with `deep` every logits and weights file too.

    The next launch puts aside what was found, and makes it anew.

    Returns:
        How many files were read, and the damaged ones.
    """
    stamps = _stamps(store, EVERYTHING if deep else (RESULTS,))
    damage = _read_all(store, list(stamps), whole=stamps) + _missing_logits(store)
    damage = list({one.name: one for one in reversed(damage)}.values())[::-1]
    if damage:
        _remember(store, {**_remembered(store), **{one.name: _SUSPICIOUS for one in damage}})
    return len(stamps), damage


def find_damage(store: Store) -> list[Damage]:
    """What is damaged, reading only what has changed since it was last known to be whole.

    Of large files that were never seen before, such as those of a launch that was killed, only the
    frame is read: they were published whole or not at all.
    """
    known = _remembered(store)
    stamps = _stamps(store, EVERYTHING)
    unknown = [name for name, stamp in stamps.items() if known.get(name) != stamp]
    whole = [name for name in unknown if name in known or name.startswith(f"{RESULTS}/")]
    damage = _read_all(store, unknown, whole=whole) + _missing_logits(store)
    return [one for one in damage if not one.newer]


def put_aside(store: Store, damage: Iterable[Damage]) -> list[str]:
    """Moves damaged files into the quarantine, a result with its logits; returns their names."""
    return [name for name in harmed(damage) if store.put_aside(name)]


def harmed(damage: Iterable[Damage]) -> list[str]:
    """The damaged files, each logits file followed by the result that belongs to it; every name once."""
    names: list[str] = []
    for one in damage:
        room, _, rest = one.name.partition("/")
        names += [one.name, f"{RESULTS}/{rest}"] if room == LOGITS else [one.name]
    return list(dict.fromkeys(names))


def remember_sound(store: Store) -> None:
    """Remembers everything that is there now as whole: what a launch has checked, and what it has published."""
    stamps = _stamps(store, EVERYTHING)
    if stamps != _remembered(store):
        _remember(store, stamps)


def _read_all(store: Store, names: list[str], *, whole: Iterable[str]) -> list[Damage]:
    read_whole = frozenset(whole)
    threads = reading_threads(store.objects.url, cores=1)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda name: _read_one(store, name, whole=name in read_whole), names)
        return [damage for one in found for damage in one]


def _read_one(store: Store, name: str, *, whole: bool) -> list[Damage]:
    try:
        if name.startswith(f"{WEIGHTS}/"):
            problems = [weights_problem(store.read_bytes(name), key_in_name(name))] if whole else []
        else:
            problems = _table_problems(store, name, whole=whole)
    except MissingObjectError:
        return []  # another launch has just put it aside
    except StoreMismatchError as error:
        return [Damage(name=name, problem=str(error), newer=True)]
    except CorruptFileError as error:
        return [Damage(name=name, problem=str(error))]
    return [Damage(name=name, problem=problem) for problem in problems if problem]


def _table_problems(store: Store, name: str, *, whole: bool) -> list[str]:
    """Of a file that is read whole every byte is checked, of another one its footer."""
    if not whole:
        return stored_problems(store.read(name, groups=[]), key_in_name(name), whole=False)
    content = store.read_bytes(name)
    if problem := parquet_problem(content):
        return [f"'{name}' is damaged ({problem}); launch again to make it anew"]
    return stored_problems(read_table(io.BytesIO(content), name), key_in_name(name))


def _missing_logits(store: Store) -> list[Damage]:
    logits = {name.partition("/")[2] for name in store.objects.names(LOGITS)}
    alone = [name for name in store.objects.names(RESULTS) if name.partition("/")[2] not in logits]
    alone = _needing_logits(store, alone) if alone else []
    return [Damage(name=name, problem=f"'{name}' has no logits beside it; launch again to make both") for name in alone]


def _needing_logits(store: Store, names: list[str]) -> list[str]:
    """The results that should have logits: not those of imported predictions whose logits nobody knows."""
    try:
        lock = store.read_lock()
    except (StoreMismatchError, CorruptFileError):
        lock = None
    known = lock.keys_without_logits if lock else frozenset()
    return [name for name in names if key_in_name(name) not in known and _says_logits(store, name)]


def _says_logits(store: Store, name: str) -> bool:
    """What a result's footer says; what cannot be read is damaged anyway."""
    try:
        return store.read(name, groups=[]).footer.get("outputs", Outputs.LOGITS) == Outputs.LOGITS
    except (MissingObjectError, StoreMismatchError, CorruptFileError):
        return False


def _stamps(store: Store, rooms: Iterable[str]) -> dict[str, str]:
    return {name: stamp for room in rooms for name, stamp in store.objects.stamps(room).items()}


def _remembered(store: Store) -> Mapping[str, str]:
    try:
        known = json.loads(store.read_bytes(STAMPS))
    except (MissingObjectError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(store: Store, stamps: Mapping[str, str]) -> None:
    store.objects.replace(STAMPS, json.dumps(stamps, separators=(",", ":")).encode())
