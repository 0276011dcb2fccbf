"""The presets of outlier exposure: what is of paper size and what a CPU can train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRESETS"]

# A flow as published (Yu et al. 2021) on the 512 channels of layer 4, eight of them for the attribute (Fujimura 2023, Sec. 4.2).
_PAPER_FLOW = {"flow_steps": 8, "flow_hidden_ratio": 1.0, "flow_domain_channels": 8}

#: What a preset fills in for every field that is None. ``paper_oe``: OE of Fujimura 2023, Table 1; ``paper_flow``: the others
#: (Section 4.2); ``cpu``: 11 to 14 s per machine on one core on 110 clips of 6 s and nine other machines. Chosen
#: on made-up machines (three targets, one seed) among equal costs: AUC 0.86, against 0.78 for width 0.25 with pool (2, 2) and
#: 12 epochs, 0.82 for pool (4, 4) and 12 epochs; 0.77 without attributes; alpha 0 or attribute_weight 1 differ less than seeds.
#: The flow's own rate suits 48 steps: -log p_Z of held-out clips is 356 and 360 per position on two made-up machines, 384 and
#: 382 at the rate of all others. A flow adds 2 % to a CPU step (0.233 s against 0.228 s; 0.239 s at the paper's depth).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "cpu": {
        "width": 0.5,
        "input_pool": (2, 4),
        "attribute_weight": 5.0,
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "schedule": "one_cycle",
        "flow_steps": 4,
        "flow_hidden_ratio": 0.25,
        "flow_domain_channels": 4,
        "flow_learning_rate": 5e-3,
    },
    "paper_oe": {
        "width": 1.0,
        "input_pool": (1, 1),
        "attribute_weight": 0.0,
        "epochs": 150,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "schedule": "one_cycle",
        **_PAPER_FLOW,
    },
    "paper_flow": {
        "width": 1.0,
        "input_pool": (1, 1),
        "attribute_weight": 5.0,
        "epochs": 250,
        "batch_size": 128,
        "learning_rate": 1e-4,
        "schedule": "fixed",
        **_PAPER_FLOW,
    },
}
