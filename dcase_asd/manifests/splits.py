"""Which training clips are held out for validation and calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dcase_asd.errors import ManifestError, nearest
from dcase_asd.manifests.schema import Manifest

__all__ = ["first_by_hash", "validation_clips"]


def validation_clips(
    manifest: Manifest, *, machine: str, source_fraction: float = 0.85, n_target: int = 6, seed: int, split: str = "train"
) -> frozenset[str]:
    """Choose the clip ids of one of a machine's training splits that no model is trained on.

    Within every section, ``floor(source_fraction * n)`` source clips and ``n_target`` target clips train (Fujimura 2023,
    Section 4.2: 85 % and 6 of 10); the others are held out. Training clips of unknown domain count as source.

    - Source: of two clips or more at least one is held out (unless ``source_fraction`` is 1) and at least one stays.
    - Target: up to ``n_target`` clips all stay; a single target clip always stays.

    The choice ranks SHA-256(seed, clip id), so it depends on no row order, other machine, other section or library version,
    and a clip added later moves few others.

    Parameters
    ----------
    manifest : Manifest
        The corpus.
    machine : str
        The machine type.
    source_fraction : float
        Share of the source clips that stays for training, in (0, 1].
    n_target : int
        Target clips per section that stay for training.
    seed : int
        Another seed, another choice.
    split : {"train", "train_anomaly"}
        Chosen within one split, so that held-out clips keep the shares of the classes.

    Raises
    ------
    ManifestError
        If the machine has no training clips.
    ValueError
        If ``source_fraction`` or ``n_target`` is out of range.
    """
    if not 0 < source_fraction <= 1:
        raise ValueError(f"source_fraction must lie in (0, 1]; got {source_fraction}")
    if n_target < 0:
        raise ValueError(f"n_target must not be negative; got {n_target}")
    train = manifest.select(machine=machine, split=split).table
    if not len(train):
        known = manifest.machines
        raise ManifestError(
            f"machine {machine!r}{nearest(machine, known)} has no training clips (split {split}); machines: {', '.join(known)}"
        )
    held: set[str] = set()
    for _, part in train.groupby("section", sort=True):
        is_target = part["domain"] == "target"
        source, target = list(part.loc[~is_target, "clip_id"]), list(part.loc[is_target, "clip_id"])
        # 1e-9: 0.85 * 20 is 16.999999999999996 in binary
        n_kept = int(source_fraction * len(source) + 1e-9)
        if source_fraction < 1:
            n_kept = min(max(n_kept, 1), max(len(source) - 1, 1))
        held |= first_by_hash(source, len(source) - n_kept, seed=seed)
        held |= first_by_hash(target, len(target) - n_target if len(target) > 1 else 0, seed=seed)
    return frozenset(held)


def first_by_hash(clip_ids: Sequence[str], n: int, *, seed: int) -> set[str]:
    """Return ``n`` of the ids, those of lowest SHA-256(seed, id): a choice that no order and no other id changes."""
    ranked = sorted(clip_ids, key=lambda clip_id: hashlib.sha256(f"{seed}\0{clip_id}".encode()).digest())
    return set(ranked[: max(n, 0)])
