"""Mean of the members' standardised scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from dcase_asd.config import configclass
from dcase_asd.ensemble.tables import by_member
from dcase_asd.errors import ConfigError
from dcase_asd.registry import Info
from dcase_asd.scores.normalisation import Standardiser

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INFO", "Config", "Mean"]

INFO = Info(
    summary="mean of the members' standardised scores",
    implementation="Mean",
    source="Fujimura 2023, Section 4.1",
    input="scores",
    cost="none",
    strengths="keeps the scale of each member's confidence; nothing to tune",
    weaknesses="a member with heavy tails dominates: standardise with median_mad then",
)


@configclass
class Config:
    """Configuration of :class:`Mean`.

    Attributes
    ----------
    standardise : {"given", "calibration", "transductive"}
        ``given``: the table holds standardised scores already, as stage 6 writes them; ``calibration``: by the scores of normal
        training clips handed to ``combine``; ``transductive``: by the scores of the very clips to be combined.
    method : {"mean_std", "median_mad"}
        Statistics used by the last two.
    """

    standardise: Literal["given", "calibration", "transductive"] = "given"
    method: Literal["mean_std", "median_mad"] = "mean_std"


class Mean:
    """Average of systems.

    Attributes
    ----------
    transductive : bool
        Whether results depend on the other clips of the test set.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.transductive = config.standardise == "transductive"

    def combine(
        self, scores: pd.DataFrame, members: Sequence[str] | None = None, *, calibration: pd.DataFrame | None = None
    ) -> pd.Series:
        """Combine the members' scores of one machine.

        Parameters
        ----------
        scores : pandas.DataFrame
            ``clip_id``, ``system``, ``score``.
        members : sequence of str, optional
            Systems to average; all by default.
        calibration : pandas.DataFrame, optional
            The same columns for normal training clips; needed by, and only by, ``standardise: calibration``.

        Returns
        -------
        pandas.Series
            Score by clip_id, sorted.

        Raises
        ------
        ConfigError
            If ``calibration`` does not go with the configuration.
        DataError
            If a score is missing, or a member's scores have no spread.
        """
        if (calibration is not None) != (self.config.standardise == "calibration"):
            raise ConfigError(
                f"ensemble mean: standardise {self.config.standardise!r} and calibration scores do not go together; "
                "only 'calibration' takes them, and needs them"
            )
        wide = by_member(scores, members)
        if self.config.standardise != "given":
            basis = wide if calibration is None else by_member(calibration, list(wide.columns))
            wide = _standardised(wide, self._fit(basis))
        # added in the order of their names, so that the order of members does not matter even in the last bit
        return wide[sorted(wide.columns)].mean(axis=1).rename("score")

    def _fit(self, basis: pd.DataFrame) -> dict[str, Standardiser]:
        return {
            name: Standardiser.fit(basis[name].to_numpy(), method=self.config.method, transductive=self.transductive)
            for name in basis.columns
        }


def _standardised(wide: pd.DataFrame, models: Mapping[str, Standardiser]) -> pd.DataFrame:
    import pandas as pd

    columns = {name: model.apply(np.asarray(wide[name])).score for name, model in models.items()}
    return pd.DataFrame(columns, index=wide.index)
