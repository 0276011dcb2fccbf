from __future__ import annotations

import pytest
from report_samples import make_rows

from dcase_asd.errors import FormatError
from dcase_asd.evaluation.report import SystemRow
from dcase_asd.evaluation.results_page import results_markdown


def test_the_whole_page():
    text = results_markdown(
        make_rows(), title="DCASE 2023", environment={"torch": "2.11.0", "seed": "1"}, command="./run.sh --stage 8"
    )
    assert text == (
        "<!-- Generated from the metrics files; edits are lost. The command below makes it again. -->\n"
        "# DCASE 2023\n\n```text\ntorch: 2.11.0\nseed: 1\n```\n\nMade by:\n\n```text\n./run.sh --stage 8\n```\n\n"
        "Per cent. A machine's cell: AUC source / AUC target / pAUC. A dash: not known. Bold: the highest official score.\n\n"
        "| System | Official score [95 % interval] | ToyCar | fan |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| flow | **65.43** [64.00, 67.00] | 81.23 / 60.00 / 55.00 | 70.00 / – / 52.00 |\n"
        "| their baseline † | 61.00 [60.00, 62.00] | – / – / – | – / – / – |\n"
        "| mean distance ‡ | 50.00 | – / – / – | 50.00 / – / – |\n\n"
        "† comparator: a plain or published method to compare with; ‡ trivial: a baseline without a learned model.\n"
    )


def test_names_cannot_break_the_table_or_the_fence():
    row = SystemRow(system="a|b\n<b>`x`", group="ours", score=0.5)
    text = results_markdown([row], title="t", environment={}, command="echo ```")
    assert "| a\\|b \\<b\\>\\`x\\` | **50.00** |" in text
    assert "````text\necho ```\n````" in text


def test_nothing_to_show_is_an_error():
    with pytest.raises(FormatError, match="at least one system"):
        results_markdown([], title="t", environment={}, command="c")
