#!/usr/bin/env python3
"""Tests of report.py, without PyTorch: `python3 bench/peers/test_report.py`."""
import contextlib
import csv
import io
import os
import tempfile
import unittest

import report


def printed(lines):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        report.print_table(lines)
    return text.getvalue()


def written(lines):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = os.path.join(folder, "peers.csv")
        report.write_csv(lines, path)
        with open(path, newline="") as file:
            return list(csv.DictReader(file))


class Shares(unittest.TestCase):
    def step(self, ours, peer):
        return {"row": "a step", "peer": "PEFT", "threads": 1, "gflops_ours": ours, "gflops_peer": peer}

    def test_a_share_is_that_of_the_peak(self):
        lines = [self.step(89.0, 50.0)]
        report.add_shares(lines, 100.0)
        self.assertIn("89%/50%", printed(lines))
        self.assertEqual(written(lines)[0]["share_ours"], "0.89")
        self.assertNotIn("WRONG PEAK", printed(lines))

    def test_a_clock_may_drift(self):
        lines = [self.step(104.9, 50.0)]
        report.add_shares(lines, 100.0)
        self.assertIn("105%/50%", printed(lines))
        self.assertNotIn("WRONG PEAK", printed(lines))

    def test_a_share_above_105_percent_is_a_wrong_measurement_and_no_figure(self):
        for ours, peer in ((164.0, 50.0), (50.0, 164.0), (105.1, 50.0)):
            lines = [{**self.step(ours, peer), "note": "a note"}, self.step(80.0, 70.0)]
            report.add_shares(lines, 100.0)
            text = printed(lines)
            self.assertNotRegex(text, "164|105%|50%")
            self.assertIn("a note; " + report.TOO_SLOW, text)
            self.assertIn("80%/70%", text)
            self.assertIn("WRONG PEAK", text)
            row = written(lines)[0]
            self.assertEqual((row["share_ours"], row["share_peer"]), ("", ""))
            self.assertIn(report.TOO_SLOW, row["note"])

    def test_a_peer_that_gave_no_result_has_no_share(self):
        lines = [{"row": "a step", "peer": "PEFT", "threads": 1, "gflops_ours": 89.0}]
        report.add_shares(lines, 100.0)
        self.assertIn("89%/-", printed(lines))

    def test_work_without_a_count_of_operations_has_no_share(self):
        lines = [{"row": "AdamW", "threads": 1, "gflops_ours": None}]
        report.add_shares(lines, 100.0)
        self.assertNotIn("%", printed(lines))


class Marks(unittest.TestCase):
    def test_the_limit_stands_beside_the_ratio(self):
        table = printed([{"row": "a step", "peer": "PEFT", "threads": 1, "ratio": 1.27, "limit": 1.33}])
        head, _, row = [[cell.strip() for cell in line.split("|")] for line in table.split("\n") if line.startswith("|")]
        self.assertEqual((row[head.index("ratio")], row[head.index("limit")]), ("1.27", "1.33"))

    def test_a_mark_that_is_missed_is_named(self):
        text = printed([{"row": "a step, over two frozen products", "peer": "PEFT", "threads": 1, "ratio": 1.2,
                         "at_most": True, "reach": 1.1, "ok": False}])
        self.assertIn("0 of 1 marks reached", text)
        self.assertIn("missed: a step, over two frozen products against PEFT: 1.2, to reach ≤ 1.1", text)


if __name__ == "__main__":
    unittest.main()
