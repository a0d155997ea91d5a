"""A hundred malformed inputs: none of them may be a traceback, and no file is changed."""

from tools.fuzz import READERS, fuzz


def test_malformed_inputs_are_taken_or_refused_in_a_sentence():
    counts, faults = fuzz(100)
    assert not faults, "\n".join(faults)
    assert counts["tried"] >= 100 - len(READERS) and counts["refused"] and counts["accepted"]
