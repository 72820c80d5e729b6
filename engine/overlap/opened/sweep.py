"""`overlap.open`: a sweep's results and analyses for a notebook, as polars frames."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import polars as pl

from overlap.analyses import Analysis, Calibration, Kind, Options, Where, analyze
from overlap.current_tables import is_current, kind_of
from overlap.errors import ArgumentError, OverlapError
from overlap.opened.summary import summarize, summary_html, summary_line
from overlap.opened.unwritten import UnwrittenStore
from overlap.outcomes import Outcomes, read_outcomes
from overlap.selection.search import DEFAULT_SEARCH, Metric, Search
from overlap.spec import did_you_mean
from overlap.standing import Status, choose_dataset, open_store, status
from overlap.store import LockFile, Store
from overlap.stored_tables import A_ROW, table_facts, table_names
from overlap_analysis import RULES, Rule, Ties

if TYPE_CHECKING:
    from overlap.exporting import Exported, ExportWords

_DEFAULT = Options()
_ON_REQUEST = {"greedy_folds": "--folds K", "greedy_bags": "--bags B"}


class SearchWords(TypedDict, total=False):
    """How to select a greedy ensemble: the fields of `overlap.selection.search.Search`, with plain words."""

    steps: int
    selection: float
    seed: int
    metric: str
    start: str | Sequence[str]
    candidates: str
    accuracy: tuple[float, float]
    replacement: bool
    sorted_start: int
    ties: Ties
    at_most: Mapping[str, int]
    max_cost: Mapping[str, float]
    stop_early: bool
    folds: int
    bags: int


def open_sweep(target: str | PathLike[str]) -> "OpenSweep":
    """A sweep's results and analyses, as polars frames.

    Args:
        target: a store (a folder, s3://… or gs://…), or a sweep file that was launched.

    Raises:
        ArgumentError: there is nothing at this address, or no sweep was launched into it.
        SweepFileError: it is a file, but no sweep file.
    """
    return OpenSweep(open_store(str(target)))


class OpenSweep:
    """A sweep that was launched or imported: what `overlap.open` gives.

    Analyses that are missing, or older than the results, are made and stored first, as `overlap analyze` does. What
    differs from those that are stored, because it was asked for with options, is computed and not stored.

    Where a sweep was evaluated on several datasets, every method speaks of the first unless it is given another.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = store.require_lock()

    @property
    def name(self) -> str:
        """What the sweep is called."""
        return self._lock.name

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that the variants are evaluated on."""
        return tuple(self.store.require_lock().results)

    def status(self) -> Status:
        """What is done, failed and pending."""
        return status(self.store)

    def variants(self, *, dataset: str | None = None) -> pl.DataFrame:
        """One row a variant with a result: what it is, its accuracy with an interval, loss and temperature."""
        return self._table("variants", (), dataset)

    def pairs(self, *, soft: bool = False, dataset: str | None = None) -> pl.DataFrame:
        """One row a pair of variants: joint counts, category and every metric with its interval.

        With `soft` also the metrics that compare probabilities, null for variants of which not all are known.
        """
        pairs = self._table("pairs", [Kind.PAIRS], dataset)
        if not soft:
            return pairs
        compared = self._table("soft", [Kind.PAIRS], dataset, replace(_DEFAULT, soft=True))
        return pairs.join(compared.drop("category"), on=["a", "b"], how="left", maintain_order="left")

    def ensembles(
        self, *, rule: Rule | None = None, calibrated: bool | None = None, dataset: str | None = None
    ) -> pl.DataFrame:
        """One row a two-model ensemble.

        Args:
            rule: only ensembles of this rule.
            calibrated: only those with, or without, temperatures; votes have none and always count. Those that are
                not stored are computed.
            dataset: of several, this one.

        Raises:
            ArgumentError: there is no such rule.
        """
        if rule is not None and rule not in RULES:
            raise ArgumentError(f"'{rule}' is no rule of ensembles; known are {', '.join(RULES)}")
        stored = self._table("ensembles", [Kind.ENSEMBLES], dataset)
        found = _chosen_ensembles(stored, rule, calibrated)
        wanted = tuple(one for one in RULES if (one in set(stored["rule"]) if rule is None else one == rule))
        if set(found["rule"]) >= set(wanted):
            return found
        calibration = Calibration.NONE if calibrated is False else Calibration.SPLIT
        made = self._compute(Kind.ENSEMBLES, dataset, Options(rules=wanted, calibration=calibration))
        return _chosen_ensembles(_made(made, "ensembles"), rule, calibrated)

    def categories(self, *, dataset: str | None = None) -> pl.DataFrame:
        """One row a category of pairs and a metric: the mean over its pairs, with its interval."""
        return self._table("categories", [Kind.CATEGORIES], dataset)

    def controls(self, *, dataset: str | None = None) -> pl.DataFrame:
        """The same means over pairs of like accuracy, without duplicates and on contested examples."""
        return self._table("controls", [Kind.CATEGORIES], dataset)

    def greedy(
        self, *, calibrated: bool = True, dataset: str | None = None, **search: Unpack[SearchWords]
    ) -> pl.DataFrame:
        """One row a step of greedy selection: the member it adds, and the ensemble's accuracies so far.

        Without options it is the stored path, whichever `overlap analyze greedy` has made last. With any, it is
        computed and not stored.

        Raises:
            ArgumentError: an option asks for what is not there, or nothing is known of probabilities.
        """
        if calibrated and not search:
            return self._table("greedy", [Kind.GREEDY], dataset)
        return self.greedy_tables(calibrated=calibrated, dataset=dataset, **search)["greedy"]

    def greedy_tables(
        self, *, calibrated: bool = True, dataset: str | None = None, **search: Unpack[SearchWords]
    ) -> dict[str, pl.DataFrame]:
        """The path and what it must beat, by name, with folds and bags if these were asked for; none is stored."""
        calibration = Calibration.SPLIT if calibrated else Calibration.NONE
        made = self._compute(Kind.GREEDY, dataset, Options(search=_search(search), calibration=calibration))
        _made(made, "greedy")
        return {name: table for name, table in made.tables.items() if name.startswith("greedy")}

    def outcomes(self, *, dataset: str | None = None) -> Outcomes:
        """What every variant answered on every example, as arrays such as `predictions_VN` and `labels_N`."""
        lock, chosen = self._chosen(dataset)
        return read_outcomes(self.store, lock, chosen)

    def correct(self, *, dataset: str | None = None) -> pl.DataFrame:
        """One row an example: `example`, its `label` (a class's name), and a column a variant: was it right?

        Raises:
            ArgumentError: a variant is called like one of the other columns.
        """
        outcomes = self.outcomes(dataset=dataset)
        classes = pl.Series(outcomes.class_names, dtype=pl.String)
        columns = {"example": pl.Series(outcomes.ids_N), "label": classes.gather(outcomes.labels_N)}
        if taken := sorted(columns.keys() & set(outcomes.names)):
            raise ArgumentError(
                f"a variant is called '{taken[0]}', as another column is; take the arrays of outcomes()"
            )
        return pl.DataFrame({**columns, **dict(zip(outcomes.names, outcomes.correct_VN, strict=True))})

    def tables(self, *, dataset: str | None = None) -> pl.DataFrame:
        """One row a stored table: its name, its rows and what one is, and whether it speaks of today's results."""
        lock, chosen = self._chosen(dataset)
        facts = [table_facts(self.store, chosen, name) for name in table_names(self.store, chosen)]
        shown = [table for table in facts if not table.working]
        return pl.DataFrame(
            {
                "table": [table.name for table in shown],
                "rows": [table.rows for table in shown],
                "a_row_is": [A_ROW.get(table.name, "") for table in shown],
                "current": [is_current(self.store, lock, chosen, table.name) for table in shown],
            },
            schema={"table": pl.String, "rows": pl.Int64, "a_row_is": pl.String, "current": pl.Boolean},
        )

    def table(self, name: str, *, dataset: str | None = None) -> pl.DataFrame:
        """Any table by its name.

        Raises:
            ArgumentError: there is no such table.
        """
        lock, chosen = self._chosen(dataset)
        if name == "variants":
            return self.variants(dataset=chosen)
        stored = table_names(self.store, chosen)
        known = list(dict.fromkeys([*A_ROW, *stored]))
        if name not in known:
            raise ArgumentError(f"no analysis has a table '{name}'{did_you_mean(name, known)}")
        if name in _ON_REQUEST and not is_current(self.store, lock, chosen, name):
            raise ArgumentError(f"no table '{name}' of today's results: `overlap analyze greedy {_ON_REQUEST[name]}`")
        kind = kind_of(name)
        if kind is not None:
            return self._table(name, [kind], chosen, replace(_DEFAULT, soft=name == "soft"))
        frame = self.store.read_analysis(chosen, name)
        if frame is None:
            raise ArgumentError(f"no table '{name}' of '{chosen}' that this version can read")
        return frame

    def report(self, *, dataset: str | None = None) -> str:
        """Writes the report into the store and returns its address."""
        from overlap.reporting import report

        return f"{self.store.objects.url}/{report(self.store, dataset=dataset)}"

    def export(
        self, to: str | PathLike[str] | None = None, *, dataset: str | None = None, **words: "Unpack[ExportWords]"
    ) -> "Exported":
        """Writes tables and figures as files: see `overlap.export`; `formats="latex"` is one word or several."""
        from overlap.exporting import export, options_of

        return export(self.store, to, dataset=dataset, options=options_of(words))

    def __repr__(self) -> str:
        return summary_line(self._lock, self.store.objects.url)

    def _repr_html_(self) -> str:
        try:
            return summary_html(self._lock, self.store.objects.url, summarize(self.store, self._lock))
        except OverlapError:  # the store is gone: what was known when it was opened can be shown still
            return summary_html(self._lock, self.store.objects.url, ())

    def _chosen(self, dataset: str | None) -> tuple[LockFile, str]:
        lock = self.store.require_lock()
        return lock, choose_dataset(lock, dataset)

    def _table(
        self, name: str, kinds: Collection[Kind], dataset: str | None, options: Options = _DEFAULT
    ) -> pl.DataFrame:
        """A stored table, made anew if it is not of today."""
        lock, chosen = self._chosen(dataset)
        notes: tuple[str, ...] = ()
        if not is_current(self.store, lock, chosen, name):
            notes = analyze(self.store, dataset=chosen, kinds=kinds, options=options).notes
        frame = self.store.read_analysis(chosen, name)
        if frame is None:
            raise ArgumentError("; ".join([f"no table '{name}' of '{chosen}'", *notes]))
        return frame

    def _compute(self, kind: Kind, dataset: str | None, options: Options) -> Analysis:
        """An analysis that is not stored."""
        store = UnwrittenStore(self.store.objects)
        return analyze(store, dataset=dataset, kinds=[kind], options=replace(options, where=Where.INPROCESS))


def _made(analysis: Analysis, table: str) -> pl.DataFrame:
    """A table of an analysis that was not stored."""
    if table in analysis.tables:
        return analysis.tables[table]
    if table in analysis.rows:
        raise ArgumentError(
            f"'{table}' has {analysis.rows[table]:,} rows, too many to hold: store it, by `overlap analyze`"
        )
    raise ArgumentError("; ".join([f"no table '{table}' of '{analysis.dataset}'", *analysis.notes]))


def _chosen_ensembles(ensembles: pl.DataFrame, rule: str | None, calibrated: bool | None) -> pl.DataFrame:
    if rule is not None:
        ensembles = ensembles.filter(pl.col("rule") == rule)
    if calibrated is not None:
        ensembles = ensembles.filter((pl.col("calibrated") == calibrated) | (pl.col("rule") == "vote"))
    return ensembles


def _search(words: SearchWords) -> Search:
    """The search that words stand for.

    Raises:
        ArgumentError: there is no such metric.
    """
    metric, start = words.get("metric", DEFAULT_SEARCH.metric), words.get("start", DEFAULT_SEARCH.start)
    if metric not in list(Metric):
        raise ArgumentError(f"'{metric}' is no metric of greedy selection; known are {', '.join(Metric)}")
    start = (start,) if isinstance(start, str) else tuple(start)
    fields: dict[str, Any] = {**words, "metric": Metric(metric), "start": start}
    return Search(**fields)
