"""Stage 9: challenge files written and validated.

Reads clip scores and decisions, development results (in percent) and a technical report; writes ``task2/...`` and its zip
(:func:`~dcase_asd.submission.writer.write_submission`). ``validator`` finds every defect of a submission at once.
To add a challenge year: one entry in ``formats.YEARS``.
"""
