"""The report: plain values in JSON, one page that asks for nothing and hides nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from export.checks import Check, Verdict
from export.report import Accuracy, Report, choose, sample
from zoo.charts import chart, ticks
from zoo.pages import number

from .pages import HOSTILE, Page, browse


def make_report(*, ok: bool = True, **changes) -> Report:
    labels = ["cat", HOSTILE]
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    shares = np.array([[0.9, 0.1], [0.2, 0.8]])
    values = {
        "name": "tiny.digits",
        "target": "onnx",
        "precision": "fp32",
        "created": "2026-01-02T03:04:05+00:00",
        "source": {"policy": "mixed_bfloat16", "parameters": 1234, "sha256": "ab" * 32},
        "fold": {
            "folded": 1,
            "kept": 1,
            "entries": [
                {
                    "layer": "a_norm",
                    "action": "folded_backward",
                    "into": ["a_conv"],
                    "reason": "",
                    "max_scale": 1.5,
                    "dead_channels": 2,
                },
                {
                    "layer": "b_norm",
                    "action": "kept",
                    "into": [],
                    "reason": HOSTILE,
                    "max_scale": -1.0,
                    "dead_channels": 0,
                },
            ],
        },
        "certificate": Verdict((Check("float64 difference", True, 1e-15, 1e-12),)),
        "validation": Verdict((Check("parity", ok, 4e-7, 9e-7, "batch 7"),)),
        "differences": {"float64": 1e-15, "drift": 0.01, "onnx": 4e-7, "onnx_limit": 9e-7},
        "latency": {
            "batch": 1,
            "median_ms": 0.5,
            "p95_ms": 0.75,
            "runs": 100,
            "threads": 2,
            "provider": "CPUExecutionProvider",
            "processor": "a processor",
        },
        "files": [{"name": "model.onnx", "bytes": 1_093_833, "sha256": "cd" * 32}],
        "versions": {"keras": "3.15.1"},
        "accuracy": Accuracy(images=2, trained=0.5, folded=0.5, onnx=0.5),
        "samples": [
            sample(pixels[index], index, shares[index], labels=labels) for index in range(2)
        ],
        "history": [
            {"epoch": 1.0, "train_loss": 2.0, "test_accuracy": 0.25},
            {"epoch": 2.0, "train_loss": 1.0, "test_accuracy": float("nan")},
        ],
        "seconds": {"fold": 1.25},
    }
    return Report(**{**values, **changes})


def test_the_json_holds_plain_values_and_no_nan():
    text = json.dumps(make_report().to_dict(), allow_nan=False)
    report = json.loads(text)
    assert report["ok"] is True
    assert report["history"][1]["test_accuracy"] is None
    assert report["validation"]["checks"][0]["limit"] == 9e-7
    assert report["samples"][1]["predictions"][0] == [HOSTILE, 0.8]


def test_the_page_is_well_formed_and_self_contained():
    Page(make_report().to_html()).check()


def test_words_from_outside_are_escaped():
    html = make_report(name=HOSTILE).to_html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_failed_check_is_told_on_top():
    good, bad = make_report().to_html(), make_report(ok=False).to_html()
    assert "FAIL" not in good
    top = bad[: bad.index("<main")]
    assert "PASS" not in top
    assert "1 of 2 checks fails: parity." in " ".join(top.split())


def test_what_is_not_known_is_left_out():
    html = make_report(accuracy=None, samples=(), history=()).to_html()
    assert 'id="images"' not in html
    assert 'id="training"' not in html
    assert "Accuracy of the ONNX file" not in html


def test_every_number_of_the_tables_is_in_the_page():
    html = make_report().to_html()
    for text in ("1.0e-15", "4.0e-07", "9.0e-07", "1.09 MB", "0.5 ms", "50.00 %", "90.0 %"):
        assert text in html


def test_wrong_images_are_chosen_first_and_then_one_of_each_class():
    truth = np.array([0, 0, 1, 1, 2, 2, 0])
    predicted = np.array([0, 0, 1, 0, 2, 2, 0])
    assert list(choose(truth, predicted, most=6)) == [3, 0, 2, 4, 1, 5]
    assert len(choose(truth, np.full(7, 9), most=6)) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.234e-7, "1.2e-07"),
        (0.98765432, "0.9877"),
        (12345.6, "12,346"),
        (272474, "272,474"),
        ("valid", "valid"),
        (True, "True"),
    ],
)
def test_numbers_are_written_in_a_few_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 2.3), (0.4, 0.99), (5.0, 5.0), (0.0, 0.0), (1e-9, 3e-9), (-1, 40)]
)
def test_ticks_span_the_range_in_equal_steps(low, high):
    values = ticks(low, high)
    steps = np.diff(values)
    assert 2 <= len(values) <= 8
    assert values[0] <= low + 1e-9 * abs(low)
    assert values[-1] >= high - 1e-9 * abs(high)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)  # rounding of whole multiples


def test_a_chart_keeps_its_points_inside_the_box_and_the_right_way_up():
    loss = chart("Loss", {"train": [(1, 2.0), (2, 1.0), (3, 0.5)]}, x_label="epoch")
    (line,) = loss.lines
    xs = [x for x, _, _ in line.points]
    ys = [y for _, y, _ in line.points]
    assert xs == sorted(xs)
    assert ys == sorted(ys)  # a falling loss goes down, where SVG's y grows
    assert loss.left <= min(xs)
    assert max(xs) <= loss.right
    assert max(ys) <= loss.bottom
    assert line.last == "0.5"


@pytest.mark.slow
def test_a_real_browser_shows_it_without_complaint(tmp_path: Path):
    make_report().write(tmp_path)
    shown = browse(tmp_path / "report.html", tmp_path)
    assert "The file computes what the trained model computed" in shown
