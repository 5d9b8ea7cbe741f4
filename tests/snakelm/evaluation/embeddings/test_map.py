"""map.parquet is read as it was written."""

import numpy as np

from tests.snakelm.evaluation.embeddings.maps import make_map, scattered


def test_read_as_written(tmp_path):
    documents = make_map(tmp_path / "m.parquet", scattered(7), loss=[None, *range(6)])
    np.testing.assert_array_equal(documents.positions, scattered(7))
    np.testing.assert_array_equal(documents.numbers("loss"), [np.nan, 0, 1, 2, 3, 4, 5])
    assert documents.texts("excerpt")[6] == "document 6"
