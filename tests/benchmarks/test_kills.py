"""One kill of an extraction by the command line. More of them: python -m benchmarks.kills"""

from benchmarks import kills


def test_a_killed_extraction_resumes_to_the_same_bytes(tmp_path):
    left, runs = kills.run(kills=1, seed=1, steps="100,30", folder=tmp_path)
    assert left == [100] and runs >= 1
