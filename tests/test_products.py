"""Matrix products whose bits do not depend on the other rows."""

import numpy as np
import pytest

from models.products import in_blocks


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(48, 640), (128, 128), (128, 6), (5, 91), (90, 4), (48, 2560), (256, 256)])
def test_product_of_a_row_has_the_same_bits_wherever_it_stands_and_whatever_stands_beside_it(shape, kind):
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(size=(100, shape[0])).astype(kind), rng.normal(size=shape).astype(kind)
    products = in_blocks(rows, weights)
    assert products.dtype == kind
    np.testing.assert_allclose(products, rows.astype(np.float64) @ weights, atol=1e-4)
    order = rng.permutation(len(rows))
    for count in (1, 7, 8, 9, 100):
        np.testing.assert_array_equal(in_blocks(rows[order[:count]], weights), products[order[:count]])
