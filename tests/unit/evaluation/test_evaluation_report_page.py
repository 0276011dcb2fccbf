from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from report_samples import make_clip, make_data, make_machine, make_rows, make_scores, make_truth

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report import MachineReport, ReportOptions, SystemRow, render_report, write_report

VOID = {"meta", "link", "wbr", "br"}
HOSTILE = "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """Tags with their attributes, and whether every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [a for t, a in self.tags if t == tag]


def test_every_element_is_closed_and_ids_are_distinct():
    page = Page(render_report(make_data()))
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for a in page.all("a")]
    assert set(targets) <= set(ids)
    assert {"machine-1", "machine-2", "results"} <= set(targets)


def test_nothing_is_loaded_from_elsewhere():
    text = render_report(make_data())
    page = Page(text)
    addresses = [v for t, a in page.tags for k, v in a.items() if k in {"src", "href", "data", "poster", "srcset"}]
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert not re.search(r"url\((?!#)|@import|https?://", text)


def test_same_data_same_bytes(tmp_path):
    first = write_report(tmp_path / "é one" / "a.html", make_data())
    second = write_report(tmp_path / "b.html", make_data())
    assert first.read_bytes() == second.read_bytes()


def test_same_bytes_in_a_fresh_process(tmp_path):
    code = "import sys; from report_samples import make_data; from dcase_asd.evaluation.report import render_report as r; "
    code += "import hashlib; print(hashlib.sha256(r(make_data()).encode()).hexdigest())"
    paths = ":".join(p for p in sys.path if p)
    environment = {"PYTHONPATH": paths, "PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(render_report(make_data()).encode()).hexdigest()


def test_foreign_text_stays_text():
    truth = make_truth("fan").replace({"clip_id": {"fan_source_normal_000": HOSTILE}})
    machine = MachineReport(
        machine=HOSTILE,
        truth=truth.assign(section=HOSTILE),
        scores=make_scores(truth).replace({"system": {"flow": HOSTILE, "knn": HOSTILE + "2"}}),
        main_system=HOSTILE,
        training_curves=pd.DataFrame({"epoch": [1, 2], "name": [HOSTILE] * 2, "value": [1.0, 0.5]}),
        clips=[make_clip(HOSTILE, domain=HOSTILE)],
    )
    row = SystemRow(system=HOSTILE, group="ours", score=0.5, per_machine={HOSTILE: {HOSTILE: 0.5}})
    text = render_report(
        make_data(
            title=HOSTILE,
            subtitle=HOSTILE,
            provenance={HOSTILE: HOSTILE},
            system_table=[row],
            machines=[machine],
            notes=[HOSTILE],
            score_name=HOSTILE,
        )
    )
    page = Page(text)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not any(k.startswith("on") for _, a in page.tags for k in a)
    assert HOSTILE in page.texts  # shown as it is, so it was not stripped either


def test_what_a_screen_reader_needs_is_there():
    page = Page(render_report(make_data()))
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(a.get("aria-label", "")) > 20 for a in page.all("svg") if a.get("role") == "img")
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert all(a.get("scope") in {"col", "row"} for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(a.get("aria-label") for a in page.all("audio"))
    levels = [int(t[1]) for t, _ in page.tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_content_security_policy_names_the_script_that_is_there():
    text = render_report(make_data())
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    policy = re.search(r"script-src 'sha256-([^']+)'", text)
    assert b64decode(policy[1]) == hashlib.sha256(script[1].encode()).digest()


def test_the_score_table_shows_scores_intervals_and_missing_values():
    page = Page(render_report(make_data()))
    texts = [t.strip() for t in page.texts]
    assert "65.43" in texts
    assert "64.00 to 67.00" in texts
    assert "81.23" in texts
    assert texts.count("–") == 1 + (18 - 6)  # one interval; 6 of 3 metrics x 2 machines x 3 systems are given
    assert {"ours", "comparator", "trivial"} <= set(texts)


def test_clips_beyond_the_limit_are_left_out_and_said():
    kinds = ["most anomalous"] * 4 + ["false alarm"] * 2
    machine = make_machine(clips=[make_clip(f"clip{i}", kind=k) for i, k in enumerate(kinds)])
    page = Page(render_report(make_data(machines=[machine]), options=ReportOptions(max_clips_per_machine=3)))
    assert len(page.all("audio")) == 3
    assert "3 of 6 chosen clips are shown" in " ".join(page.texts)
    none = Page(render_report(make_data(machines=[machine]), options=ReportOptions(max_clips_per_machine=0)))
    assert none.all("article") == []


def test_sound_budget_is_kept_and_said():
    full = Page(render_report(make_data()))
    sizes = [len(a["src"]) for a in full.all("audio")]
    budget = sum(sizes) - 1
    page = Page(render_report(make_data(), options=ReportOptions(max_sound_bytes=budget)))
    assert sum(len(a["src"]) for a in page.all("audio")) <= budget
    assert len(page.all("audio")) == len(sizes) - 1
    assert "sound left out" in " ".join(page.texts)


def test_a_page_without_machines_and_one_without_anything_optional():
    bare = make_machine(threshold=None, training_curves=None, clips=[])
    assert Page(render_report(make_data(machines=[bare], notes=[]))).open == []
    assert Page(render_report(make_data(machines=[], system_table=[], provenance={}, subtitle=""))).open == []


def test_one_class_only_has_no_roc():
    truth = make_truth("fan")
    normal = truth[truth["is_anomaly"] == 0]
    machine = make_machine("fan", truth=normal, scores=make_scores(normal), clips=[])
    text = " ".join(Page(render_report(make_data(machines=[machine]))).texts)
    assert "ROC" not in text
    assert "Scores" in text


def test_pictures_and_maps():
    photo = np.zeros((30, 40, 3), np.uint8)
    clips = [
        make_clip("a", sound=None, feature=None, score_times_s=None, segment_scores=None, picture=photo, heat_map=np.eye(6)),
        make_clip("b", sound=None, feature=None, score_times_s=None, segment_scores=None, picture=photo),
        make_clip("c", heat_map=np.eye(8)),
        make_clip("d", sound=None, feature=None),
        make_clip("e", sound=None, feature=None, score_times_s=None, segment_scores=None),
    ]
    page = Page(render_report(make_data(machines=[make_machine(clips=clips)])))
    assert page.open == []
    # a: photo, photo under map, map; b: photo; c: log-mel and map
    assert len(page.all("image")) == 3 + 1 + 2
    assert len(page.all("article")) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machines": [make_machine("fan"), make_machine("fan")]}, "'fan' stands twice"),
        ({"machines": [make_machine(main_system="gone")]}, "'gone' has no scores"),
        ({"machines": [make_machine(truth=make_truth("ToyCar").drop(columns="domain"))]}, "lacks the columns domain"),
        ({"machines": [make_machine(truth=make_truth("ToyCar").assign(is_anomaly=2))]}, "must be 0 or 1"),
        ({"machines": [make_machine(truth=make_truth("ToyCar", n=11))]}, "has no score for 4 clips"),
        ({"machines": [make_machine(scores=make_scores(make_truth("ToyCar")).assign(score=np.nan))]}, "not finite"),
        ({"machines": [make_machine(clips=[make_clip(score=np.inf)])]}, "score inf is not finite"),
        ({"machines": [make_machine(clips=[make_clip(heat_map=np.full((2, 2), np.nan))])]}, "heat_map has NaN"),
        ({"machines": [make_machine(clips=[make_clip(segment_scores=None)])]}, "same length"),
        ({"machines": [make_machine(clips=[make_clip(picture=np.zeros((4, 4)))])]}, "picture must be"),
        ({"machines": [make_machine(clips=[make_clip(kind="odd")])]}, "kind 'odd'"),
        ({"system_table": [*make_rows(), make_rows()[0]]}, "'flow' stands twice"),
        ({"system_table": [replace(make_rows()[0], score=65.4)]}, "score 65.4 is not in"),
        ({"system_table": [replace(make_rows()[0], score=float("nan"))]}, "score nan is not in"),
        ({"system_table": [replace(make_rows()[0], low=0.8)]}, "no interval"),
        ({"system_table": [replace(make_rows()[0], high=None)]}, "has one end"),
        ({"system_table": [replace(make_rows()[0], group="theirs")]}, "group 'theirs'"),
        ({"system_table": [replace(make_rows()[0], per_machine={"fan": {"pAUC": 55.0}})]}, "not in \\[0, 1\\]"),
        ({"auc_rule": "mine"}, "auc_rule 'mine'"),
    ],
)
def test_wrong_data_is_refused(changes, message):
    with pytest.raises(FormatError, match=message):
        render_report(make_data(**changes))
