"""Open the page as a reader does: in headless Chromium, where it is installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from report_samples import make_data

from dcase_asd.evaluation.report import write_report

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
    "--dump-dom",
]


def open_page(path, profile):
    command = [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@needs_chromium
def test_the_page_opens_without_an_error_and_its_script_runs(tmp_path):
    path = write_report(tmp_path / "é page" / "report 1.html", make_data())
    done = open_page(path, tmp_path / "profile")
    assert "CONSOLE" not in done.stderr, done.stderr
    dom = done.stdout
    for wanted in ('id="results"', 'id="machine-1"', 'id="machine-2"', 'class="provenance"'):
        assert wanted in dom
    # the script turns sortable headings into buttons and drawings into seek bars; the policy let it run, and nothing else
    assert dom.count("<button") == dom.count("data-sort=")
    assert dom.count("seekable") >= dom.count("<audio")


@needs_chromium
def test_the_check_above_sees_an_error(tmp_path):
    """The same call on a page whose script was altered: the policy blocks it, and the console says so."""
    path = write_report(tmp_path / "report.html", make_data())
    path.write_text(path.read_text("utf-8").replace('"use strict";', '"use strict"; alert(1);'), "utf-8")
    done = open_page(path, tmp_path / "profile")
    assert "CONSOLE" in done.stderr
    assert "<button" not in done.stdout
