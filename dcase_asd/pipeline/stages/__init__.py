"""The ten stages, one module each, in order."""

from __future__ import annotations

from dcase_asd.pipeline.stage import Stage

__all__ = ["all_stages"]


def all_stages() -> list[Stage]:
    """Return the ten stages in order."""
    from dcase_asd.pipeline.stages.detectors import DetectorsStage
    from dcase_asd.pipeline.stages.embeddings import EmbeddingsStage
    from dcase_asd.pipeline.stages.ensemble import EnsembleStage
    from dcase_asd.pipeline.stages.evaluate import EvaluateStage
    from dcase_asd.pipeline.stages.extractor import ExtractorStage
    from dcase_asd.pipeline.stages.features import FeaturesStage
    from dcase_asd.pipeline.stages.manifests import ManifestsStage
    from dcase_asd.pipeline.stages.raw import RawStage
    from dcase_asd.pipeline.stages.scores import ScoresStage
    from dcase_asd.pipeline.stages.submit import SubmitStage

    return [
        RawStage(),
        ManifestsStage(),
        FeaturesStage(),
        ExtractorStage(),
        EmbeddingsStage(),
        DetectorsStage(),
        ScoresStage(),
        EnsembleStage(),
        EvaluateStage(),
        SubmitStage(),
    ]
