"""The scorer: fit on normal recordings, score new ones, update, save, load."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import AudioError, NotFittedError, UsageError
from dcase_asd.serving.advisor import Advice, advise, look
from dcase_asd.serving.fitting import Calibration, Normals, calibrate, embed_normals, fit_model, group_windows
from dcase_asd.serving.model import Fronts, Model, WindowScore
from dcase_asd.serving.recordings import Recording, Skipped, Sources, Window, find, windows
from dcase_asd.serving.settings import ModelConfig, resolve
from dcase_asd.serving.verdict import COLUMNS, Verdict
from dcase_asd.serving.where import locate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Scorer", "Verdict"]


class Scorer:
    """Anomaly scores for recordings of one machine.

    The constructor stores its parameters and does nothing else; what ``fit`` learns ends in an underscore.

    Parameters
    ----------
    false_alarms : float
        Share of normal recordings that may be called anomalous.
    channel : str
        ``mean`` or a channel's number.
    seed : int
        The same recordings and seed give the same model.
    weights : str
        Path of the pretrained network's checkpoint; empty: in ``$DCASE_ASD_WEIGHTS`` if set.
    config : mapping, optional
        A model of one's own (see :class:`~dcase_asd.serving.settings.ModelConfig`) instead of the advisor's.
    verbose : bool
        Print what is chosen and why.

    Attributes
    ----------
    advice_ : tuple of str
        What was seen, chosen, left out and promised, in sentences.
    skipped_ : tuple of Skipped
        Recordings that the last call could not use.
    threshold_ : float
        A score above it is an alarm.

    Examples
    --------
    >>> scorer = Scorer(false_alarms=0.05).fit("recordings/normal")  # doctest: +SKIP
    >>> scorer.score("recordings/new")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        false_alarms: float = 0.01,
        channel: str = "mean",
        seed: int = 0,
        weights: str = "",
        config: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.false_alarms = false_alarms
        self.channel = channel
        self.seed = seed
        self.weights = weights
        self.config = config
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn's signature
        """Return the constructor's parameters."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Scorer:
        """Set parameters; raises ``UsageError`` for one that does not exist."""
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                raise UsageError(f"Scorer has no parameter {name!r}; known: {', '.join(known)}")
            setattr(self, name, value)
        return self

    def fit(self, normals: Sources, *, also: Sources | None = None, sample_rate_hz: int | None = None) -> Scorer:
        """Fit on recordings of the normal machine.

        Parameters
        ----------
        normals : path, array, or several
            Folders stand for the recordings in them.
        also : path, array, or several, optional
            Normal recordings under a second condition (another place, load or microphone), of which there may be few.
        sample_rate_hz : int, optional
            Rate of arrays.

        Raises
        ------
        AudioError
            If no recording is usable.
        DataError
            If there are too few.
        UsageError
            If a parameter is out of range.
        """
        if not 0.0 < self.false_alarms < 1.0:
            raise UsageError(f"false_alarms: expected a share between 0 and 1, got {self.false_alarms}")
        sets = {"source": find(normals, sample_rate_hz=sample_rate_hz)}
        if also is not None:
            sets["target"] = find(also, sample_rate_hz=sample_rate_hz)
        seen = {domain: look(found.recordings, channel=self.channel) for domain, found in sets.items()}
        skipped = [s for d in sets for s in (*sets[d].skipped, *seen[d].unusable)]
        if "target" in seen and not seen["target"].recordings:
            raise AudioError("no usable recording of the second condition; leave it out or repair the files")
        advice = self._advice(seen)
        fronts = Fronts(resolve(advice.model), channel=self.channel)
        fronts.recorded_hz = min(rate for found in seen.values() for rate in found.rates_hz)
        pieces = {domain: _cut(found.recordings, fronts.config) for domain, found in seen.items()}
        fronts.observe(sorted(pieces["source"], key=lambda w: (w.recording.name, w.start)))
        self._advice_given = advice.lines
        self._fit(fronts, self._embedded(fronts, pieces, skipped), skipped)
        return self

    def update(self, normals: Sources, *, also: Sources | None = None, sample_rate_hz: int | None = None) -> Scorer:
        """Add normal recordings and fit again, without the old recordings; amplitude statistics stay as they are.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        AudioError
            If none of the new recordings is usable.
        """
        model, _, before = self._fitted()
        sets = {"source": find(normals, sample_rate_hz=sample_rate_hz)}
        if also is not None:
            sets["target"] = find(also, sample_rate_hz=sample_rate_hz)
        seen = {domain: look(found.recordings, channel=self.channel) for domain, found in sets.items()}
        skipped = [s for d in sets for s in (*sets[d].skipped, *seen[d].unusable)]
        pieces = {
            domain: _cut(self._fast_enough(found.recordings, skipped), model.fronts.config) for domain, found in seen.items()
        }
        if not any(pieces.values()):
            raise AudioError(f"no usable recording to add ({skipped[0].reason if skipped else 'none given'})")
        self._fit(model.fronts, before + self._embedded(model.fronts, pieces, skipped), skipped)
        return self

    def score(self, sources: Sources, *, sample_rate_hz: int | None = None) -> pd.DataFrame:
        """Score recordings.

        Returns
        -------
        pandas.DataFrame
            Columns as in :data:`COLUMNS`, one row a recording that could be used, in the order given. What could not is in
            :attr:`skipped_` with the reason.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load`.
        """
        import pandas as pd

        rows = [v.row for v in self.verdicts(sources, sample_rate_hz=sample_rate_hz)]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def verdicts(self, sources: Sources, *, sample_rate_hz: int | None = None) -> Iterator[Verdict]:
        """Score recordings one by one, in constant memory however many and however long they are."""
        model, calibration, _ = self._fitted()
        found = find(sources, sample_rate_hz=sample_rate_hz)
        skipped = list(found.skipped)
        self.skipped_ = tuple(skipped)
        for recording in self._fast_enough(found.recordings, skipped):
            try:
                yield self._verdict(recording, model, calibration)
            except AudioError as error:
                skipped.append(Skipped(recording.name, str(error)))
        self.skipped_ = tuple(skipped)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a bundle: a folder, or a zip if the name ends in ``.zip``; raises ``UsageError`` over anything else there."""
        from dcase_asd.serving.storage import save_scorer

        self._fitted()
        save_scorer(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scorer:
        """Open a bundle; raises ``FormatError`` with the reason if it is damaged, foreign, or of a newer version."""
        from dcase_asd.serving.storage import load_scorer

        return load_scorer(cls, path)

    def _advice(self, seen: Mapping[str, Any]) -> Advice:
        from dcase_asd.extractors.efficientat import EfficientAt

        advice = advise(
            seen["source"], also=seen.get("target"), has_weights=EfficientAt.available(self.weights), weights=self.weights
        )
        return advice if self.config is None else Advice(dict(self.config), (*advice.lines[:1], "The model is the given one."))

    def _embedded(self, fronts: Fronts, pieces: Mapping[str, list[Window]], skipped: list[Skipped]) -> Normals:
        total: Normals | None = None
        for domain, cut in pieces.items():
            groups = group_windows(cut, folds=fronts.config.folds)
            normals, left_out = embed_normals(fronts, cut, domain=domain, groups=groups)
            skipped += left_out
            total = normals if total is None else total if normals is None else total + normals
        if total is None:
            raise AudioError(f"no usable normal recording ({skipped[0].reason if skipped else 'none given'})")
        return total

    def _fit(self, fronts: Fronts, normals: Normals, skipped: list[Skipped]) -> None:
        from dcase_asd.serving.promises import promise

        normals = normals.sorted()
        model, cross = fit_model(fronts, normals, seed=self.seed)
        calibration = calibrate(model, cross, normals, rate=self.false_alarms, seed=self.seed)
        self._state = (model, calibration, normals)
        self.skipped_ = tuple(skipped)
        left_out = [f"{len(skipped)} recordings could not be used: {skipped[0].reason}."] if skipped else []
        self.advice_ = (*self._advice_given, *left_out, *promise(calibration, fronts.config))
        if self.verbose:
            print("\n".join(self.advice_))

    def _fast_enough(self, recordings: tuple[Recording, ...], skipped: list[Skipped]) -> Iterator[Recording]:
        """Pass on recordings that reach the model's frequencies."""
        lowest = self._fitted()[0].fronts.lowest_rate_hz
        for recording in recordings:
            if recording.sample_rate_hz >= lowest:
                yield recording
                continue
            skipped.append(
                Skipped(
                    recording.name,
                    f"{recording.sample_rate_hz} Hz; the model listens up to {lowest / 2:g} Hz, record at {lowest} Hz",
                )
            )

    @staticmethod
    def _verdict(recording: Recording, model: Model, calibration: Calibration) -> Verdict:
        config = model.fronts.config
        best: tuple[Window, WindowScore] | None = None
        for window in windows(recording, whole_s=config.whole_s, window_s=config.window_s):
            scored = model.score(window)
            if best is None or scored.score > best[1].score:
                best = (window, scored)
        if best is None:
            raise AudioError(f"{recording.name}: no samples in it")
        window, scored = best
        place = locate(scored, window, model.bands)
        decision = int(scored.score > calibration.threshold.value)
        return Verdict(recording.name, scored.score, decision, calibration.percentile(scored.score), *place, window, scored)

    @property
    def threshold_(self) -> float:
        """A score above it is an alarm."""
        return self._fitted()[1].threshold.value

    def _fitted(self) -> tuple[Model, Calibration, Normals]:
        state: tuple[Model, Calibration, Normals] | None = getattr(self, "_state", None)
        if state is None:
            raise NotFittedError("Scorer: call fit, or Scorer.load, first")
        return state


def _cut(recordings: Any, config: ModelConfig) -> list[Window]:
    return [w for recording in recordings for w in windows(recording, whole_s=config.whole_s, window_s=config.window_s)]
