import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcase_asd.errors import ManifestError
from dcase_asd.manifests.schema import Manifest
from dcase_asd.manifests.splits import validation_clips


def manifest(counts: dict[tuple[str, str, str], int], *, shuffle: int = 0) -> Manifest:
    """Rows for (machine, section, domain) -> number of training clips."""
    rows = [
        {
            "clip_id": f"dev/{machine}/train/section_{section}_{domain}_{i:04d}",
            "path": "x.wav",
            "kind": "audio",
            "subset": "dev",
            "machine": machine,
            "section": section,
            "domain": domain,
            "split": "train",
            "n_samples": 1,
            "n_channels": 1,
            "sample_rate_hz": 16000,
            "sha256": "",
        }
        for (machine, section, domain), n in counts.items()
        for i in range(n)
    ]
    made = Manifest.from_rows(rows)
    return Manifest(made.table.sample(frac=1, random_state=shuffle, ignore_index=True)) if shuffle else made


def test_the_split_of_the_paper():
    held = validation_clips(manifest({("fan", "00", "source"): 990, ("fan", "00", "target"): 10}), machine="fan", seed=0)
    assert sum("source" in c for c in held) == 990 - 841  # floor(0.85 * 990) = 841 stay
    assert sum("target" in c for c in held) == 4


def test_sections_are_split_apart():
    counts = {("fan", s, d): n for s in ("00", "01") for d, n in (("source", 20), ("target", 10))}
    held = validation_clips(manifest(counts), machine="fan", seed=1)
    for section in ("00", "01"):
        assert sum(f"section_{section}_source" in c for c in held) == 3
        assert sum(f"section_{section}_target" in c for c in held) == 4


@pytest.mark.parametrize(("n_source", "n_held"), [(1, 0), (2, 1), (3, 1), (6, 1), (7, 2), (20, 3), (100, 15)])
def test_small_source_sets(n_source, n_held):
    assert len(validation_clips(manifest({("fan", "00", "source"): n_source}), machine="fan", seed=0)) == n_held


@pytest.mark.parametrize(("n_all", "n_target", "n_held"), [(1, 0, 0), (2, 0, 2), (3, 6, 0), (6, 6, 0), (7, 6, 1), (10, 6, 4)])
def test_small_target_sets(n_all, n_target, n_held):
    table = manifest({("fan", "00", "target"): n_all})
    assert len(validation_clips(table, machine="fan", n_target=n_target, seed=0)) == n_held


def test_a_fraction_of_one_holds_nothing_out():
    table = manifest({("fan", "00", "source"): 50})
    assert validation_clips(table, machine="fan", source_fraction=1.0, seed=0) == frozenset()


def test_only_seed_and_clip_ids_decide():
    counts = {("fan", "00", "source"): 40, ("fan", "00", "target"): 10}
    first = validation_clips(manifest(counts), machine="fan", seed=3)
    assert first == validation_clips(manifest(counts, shuffle=7), machine="fan", seed=3)
    assert first == validation_clips(manifest({**counts, ("valve", "00", "source"): 30}), machine="fan", seed=3)
    assert first != validation_clips(manifest(counts), machine="fan", seed=4)


def test_the_choice_is_the_same_for_ever():
    # golden: SHA-256 ranks, computed with sha256sum of "0\0dev/fan/train/section_00_source_000<i>"
    held = validation_clips(manifest({("fan", "00", "source"): 8}), machine="fan", seed=0)
    assert held == {"dev/fan/train/section_00_source_0003", "dev/fan/train/section_00_source_0004"}


def test_wrong_arguments():
    table = manifest({("fan", "00", "source"): 3})
    with pytest.raises(ManifestError, match="did you mean 'fan'"):
        validation_clips(table, machine="fam", seed=0)
    with pytest.raises(ValueError, match="source_fraction"):
        validation_clips(table, machine="fan", source_fraction=0.0, seed=0)
    with pytest.raises(ValueError, match="n_target"):
        validation_clips(table, machine="fan", n_target=-1, seed=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 12), st.integers(0, 5), st.floats(0.01, 1.0))
def test_something_always_stays_for_training(n_source, n_target_clips, seed, fraction):
    table = manifest({("fan", "00", "source"): n_source, ("fan", "00", "target"): n_target_clips})
    held = validation_clips(table, machine="fan", source_fraction=fraction, seed=seed)
    assert held <= set(table.table["clip_id"])
    assert sum("source" in c for c in held) < n_source
