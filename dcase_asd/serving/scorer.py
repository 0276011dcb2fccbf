"""The scorer: fit on normal recordings, score new ones, update, save, load."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dcase_asd.errors import AudioError, NotFittedError, UsageError
from dcase_asd.serving.advisor import Advice, Look, advise
from dcase_asd.serving.learning.budget import Budget
from dcase_asd.serving.learning.calibration import Calibration, calibrate, score_unheard
from dcase_asd.serving.learning.exposure import expose
from dcase_asd.serving.learning.fitting import Normals, Segments, fit_model
from dcase_asd.serving.learning.gathering import Gathered, check, cut, embedded, gather, strangers, windows_of, without_copies
from dcase_asd.serving.model import Fronts, Model, WindowScore
from dcase_asd.serving.recordings import Recording, Skipped, Sources, Window, find, windows
from dcase_asd.serving.settings import check_parameters, has_pretrained, missing_weights, resolve
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
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> normal = [rng.normal(scale=0.1, size=16000).astype(np.float32) for _ in range(8)]
    >>> scorer = Scorer(false_alarms=0.2).fit(normal, sample_rate_hz=16000)
    >>> whistle = normal[0] + np.sin(np.arange(16000)).astype(np.float32)
    >>> scorer.score([whistle, normal[1]], sample_rate_hz=16000)["decision"].tolist()
    [1, 0]
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

    def __repr__(self) -> str:
        """Return the parameters that are not the default, as scikit-learn does."""
        known = inspect.signature(type(self)).parameters
        return f"Scorer({', '.join(f'{k}={v!r}' for k, v in self.get_params().items() if v != known[k].default)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs (joblib); to keep a scorer, save it."""
        from dcase_asd.serving.storage import packed

        return packed(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`__getstate__` returned."""
        from dcase_asd.serving.storage import unpack

        unpack(self, state)

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

    def fit(
        self,
        normals: Sources,
        *,
        also: Sources | None = None,
        others: Sources | None = None,
        minutes: float | None = None,
        sample_rate_hz: int | None = None,
    ) -> Scorer:
        """Fit on recordings of the normal machine.

        Parameters
        ----------
        normals : path, array, or several
            Folders stand for the recordings in them.
        also : path, array, or several, optional
            Normal recordings under a second condition (another place, load or microphone), of which there may be few.
        others : path, array, or several, optional
            Recordings of other machines: an extractor is trained to tell them from the normal ones (outlier exposure).
        minutes : float, optional
            Time that fitting may take: decides what is trained and for how long. None: a fixed training, no clock is read.
        sample_rate_hz : int, optional
            Rate of arrays.

        Raises
        ------
        AudioError
            If no recording is usable.
        DataError, TrainingError
            If there are too few.
        UsageError
            If a parameter is out of range, or a recording is a normal one and another machine's at once.
        """
        check_parameters(false_alarms=self.false_alarms, channel=self.channel, seed=self.seed)
        has_weights = has_pretrained(self.weights)
        budget = Budget.start(minutes)
        found = gather(normals, also=also, others=others, sample_rate_hz=sample_rate_hz, channel=self.channel)
        check(found)
        advice = self._advice(found, has_weights=has_weights)
        config = resolve(advice.model)
        pieces = {domain: cut(seen, config) for domain, seen in found.seen.items()}
        others_cut = strangers(found, config)
        config, decisions = budget.decide(config, pieces["source"], others_cut, channel=self.channel, seed=self.seed)
        fronts = Fronts(config, channel=self.channel)
        fronts.recorded_hz = min(rate for seen in found.seen.values() for rate in seen.rates_hz)
        fronts.observe(sorted(pieces["source"], key=lambda w: (w.recording.name, w.start)))
        self._advice_given = (*advice.lines, *missing_weights(has_weights=has_weights), *decisions)
        heard = embedded(fronts, pieces, found.skipped).sorted()
        folded: dict[int, dict[str, Segments]] = {}
        if fronts.pending:
            heard, folded, unread = expose(fronts, heard, windows_of(heard, pieces), others_cut, seed=self.seed, log=self._log)
            found.skipped.extend(unread)
        self._fit(fronts, heard, found.skipped, folded)
        return self

    def update(self, normals: Sources, *, also: Sources | None = None, sample_rate_hz: int | None = None) -> Scorer:
        """Add normal recordings and fit again, without the old recordings; amplitude statistics stay as they are.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        AudioError
            If none of the new recordings is usable.
        UsageError
            If an extractor was trained on the normals: it knows the old ones, so that they could not calibrate again.
        """
        model, _, before = self._fitted()
        if any(extractor.trains for extractor in model.fronts.extractors.values()):
            raise UsageError("this model trained an extractor on its normal recordings; fit again on the old and the new ones")
        found = gather(normals, also=also, sample_rate_hz=sample_rate_hz, channel=self.channel)
        pieces = {
            domain: [
                window
                for recording in self._fast_enough(seen.recordings, found.skipped)
                for window in windows(recording, whole_s=model.fronts.config.whole_s, window_s=model.fronts.config.window_s)
            ]
            for domain, seen in found.seen.items()
        }
        if not any(pieces.values()):
            reasons = "; ".join(seen.reasons for seen in found.seen.values())
            raise AudioError(f"no usable recording to add ({found.skipped[0] if found.skipped else reasons})")
        together = before + embedded(model.fronts, pieces, found.skipped)
        total = without_copies(together, found.skipped, n_before=len(before.names))
        if len(total.names) == len(before.names):
            raise AudioError(f"no usable recording to add ({found.skipped[-1]})")
        self._fit(model.fronts, total.sorted(), found.skipped, {})
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
                skipped.append(Skipped.because(recording.name, error))
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

    def _advice(self, found: Gathered, *, has_weights: bool) -> Advice:
        seen: Mapping[str, Look] = found.seen
        advice = advise(
            seen["source"],
            also=seen.get("target"),
            others=found.others,
            has_weights=has_weights,
            weights=self.weights,
        )
        return advice if self.config is None else Advice(dict(self.config), (*advice.lines[:1], "The model is the given one."))

    def _log(self, text: str) -> None:
        if self.verbose:
            print(text, flush=True)

    def _fit(
        self, fronts: Fronts, normals: Normals, skipped: list[Skipped], folded: Mapping[int, Mapping[str, Segments]]
    ) -> None:
        from dcase_asd.serving.learning.promises import promise

        model, cross = fit_model(fronts, normals, seed=self.seed, folded=folded)
        unheard = score_unheard(model, normals, seed=self.seed)
        calibration = calibrate(model, cross, normals, rate=self.false_alarms, seed=self.seed, unheard=unheard)
        self._state = (model, calibration, normals)
        self.skipped_ = tuple(skipped)
        left_out = [f"{len(skipped)} recordings could not be used, such as {skipped[0]}."] if skipped else []
        self.advice_ = (*self._advice_given, *left_out, *promise(calibration, fronts.config, normals))
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
