"""A page with the most anomalous recordings to see and hear: one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcase_asd.errors import AudioError
from dcase_asd.evaluation import report
from dcase_asd.evaluation.report.clip_figures import clip_scales, sound_figure
from dcase_asd.evaluation.report.data import ClipReport, FeaturePicture, Sound
from dcase_asd.evaluation.report.media import embed_sound, palette_stops
from dcase_asd.io.atomic import write_text
from dcase_asd.serving.model import Fronts
from dcase_asd.serving.recordings import Window
from dcase_asd.serving.scorer import Scorer, Verdict

__all__ = ["write_page"]

# Seconds of sound and pixels of picture for each recording: a dozen stay below some megabytes.
_SOUND_S = 12.0
_MAX_PX = 700

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Anomaly scores</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>{{ style }}</style></head><body>
<svg aria-hidden="true" width="0" height="0"><defs>{% for name, stops in gradients.items() %}
<linearGradient id="{{ name }}" x1="0" y1="1" x2="0" y2="0">{% for colour in stops %}
<stop offset="{{ loop.index0 / (stops | length - 1) }}" stop-color="{{ colour }}"/>{% endfor %}</linearGradient>{% endfor %}
</defs></svg>
<header class="page-head"><h1>Anomaly scores</h1>
<p>{{ count }} recordings scored, {{ alarms }} anomalous, {{ skipped | length }} not usable.</p></header><main>
<ul class="notes">{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ul>
{% if skipped %}<h2>Not usable</h2>
<ul>{% for item in skipped %}<li>{{ item.name }}: {{ item.reason }}</li>{% endfor %}</ul>{% endif %}
<h2>Most anomalous</h2>
{% for clip in clips %}<section><h3>{{ clip.verdict.file }}</h3>
<p>Score {{ "%.4g" | format(clip.verdict.score) }}, {{ "anomalous" if clip.verdict.decision else "normal" }}, above
{{ "%.0f" | format(clip.verdict.percentile) }} % of the normal recordings;
most unusual at {{ "%.1f" | format(clip.verdict.from_s) }} to
{{ "%.1f" | format(clip.verdict.to_s) }} s{% if clip.hz %}, {{ clip.hz }}{% endif %}.</p>
{% if clip.figure %}{{ clip.figure }}{% endif %}
{% if clip.sound %}<audio controls preload="none" src="{{ clip.sound.address }}"></audio>
<p class="hint">{{ "%.1f" | format(clip.sound.shown_s) }} s from second {{ "%.1f" | format(clip.sound_from_s) }}, gain
{{ "%.0f" | format(clip.sound.gain_db) }} dB.</p>{% endif %}</section>{% endfor %}
</main></body></html>
"""


def write_page(path: str | os.PathLike[str], scorer: Scorer, shown: Sequence[Verdict], *, count: int, alarms: int) -> None:
    """Write the page.

    Parameters
    ----------
    path : path-like
        The HTML file.
    scorer : Scorer
        That gave the verdicts; its ``skipped_`` and ``advice_`` are shown.
    shown : sequence of Verdict
        Recordings to show, most anomalous first.
    count, alarms : int
        Of all recordings scored.
    """
    import jinja2
    from markupsafe import Markup

    clips = [(verdict, *_drawn(scorer, verdict)) for verdict in shown]  # of one that is gone by now: its numbers
    scales = clip_scales([clip for _, clip, _ in clips]) if clips else None
    rows = []
    for verdict, clip, sound in clips:
        figure = (
            sound_figure(clip, scales=scales, max_px=_MAX_PX, label=f"spectrogram and scores of {verdict.file}")
            if scales
            else None
        )
        hz = "" if np.isnan(verdict.from_hz) else f"{verdict.from_hz:.0f} to {verdict.to_hz:.0f} Hz"
        rows.append({"verdict": verdict, "figure": figure, "sound": sound, "sound_from_s": _heard_from_s(verdict), "hz": hz})
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)  # file names are foreign text
    style = (Path(report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    text = environment.from_string(_TEMPLATE).render(
        style=Markup(style),
        gradients={name: palette_stops(name) for name in ("viridis", "inferno")},
        clips=rows,
        count=count,
        alarms=alarms,
        lines=scorer.advice_,
        skipped=scorer.skipped_,
    )
    write_text(path, text)


def _drawn(scorer: Scorer, verdict: Verdict) -> tuple[ClipReport, object]:
    window, piece = verdict.window, verdict.details.piece
    feature, sound = None, None
    try:
        feature = _spectrogram(scorer._fitted()[0].fronts, window)
        rate = window.recording.sample_rate_hz
        begin = round(_heard_from_s(verdict) * rate)
        heard = Sound(
            waveform=window.recording.read(begin, min(window.stop, begin + round(_SOUND_S * rate))), sample_rate_hz=rate
        )
        sound = embed_sound(heard, max_s=_SOUND_S, where=verdict.file)
    except AudioError:
        pass  # it was read a moment ago: the file is gone; its numbers are known
    clip = ClipReport(
        clip_id=verdict.file,
        kind="most anomalous",
        score=verdict.score,
        percentile=verdict.percentile,
        is_anomaly=bool(verdict.decision),
        domain="unknown",
        feature=feature,
        score_times_s=window.start_s + piece.starts_s[piece.reference] + piece.length_s / 2.0,
        segment_scores=verdict.details.segments,
    )
    return clip, sound


def _spectrogram(fronts: Fronts, window: Window) -> FeaturePicture | None:
    if fronts.band_front is None:
        return None
    front = fronts.features[fronts.band_front]
    frames = np.asarray(fronts.frames(window, fronts.band_front), dtype=np.float64)
    end_s = window.start_s + len(frames) / front.frame_rate_hz
    bands = np.asarray(front.band_hz)
    return FeaturePicture(values=frames.T, band_hz=bands, start_s=window.start_s, end_s=end_s, unit=front.unit)


def _heard_from_s(verdict: Verdict) -> float:
    """Return where the sound begins, so that what is most unusual is in it, in the middle where there is room."""
    window = verdict.window
    last_s = window.stop / window.recording.sample_rate_hz - _SOUND_S
    return max(window.start_s, min((verdict.from_s + verdict.to_s - _SOUND_S) / 2.0, last_s))
