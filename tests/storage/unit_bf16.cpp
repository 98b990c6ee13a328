// Matrices that are rounded to bfloat16.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <preheat/storage/keep.hpp>

#include "support/refusal.hpp"
#include "support/stored.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE("bf16: every entry is the nearest number of 8 bits, in 2 bytes") {
  const table w = float_table(7, 300, 1);
  const stored_matrix W = storage::kept_as(weight_storage::bf16, stored(w));
  CHECK(W.type_name() == "BF16");
  CHECK(W.bytes() == 7 * 300 * 2);
  const table rounded = unpacked(W);
  for (std::size_t k = 0; k < w.values.size(); ++k) {
    CHECK(std::abs(rounded.values[k] - w.values[k]) <= 0x1p-8 * std::abs(w.values[k]));
    int exponent = 0;
    const double mantissa = std::frexp(rounded.values[k], &exponent);
    CHECK(mantissa * 256 == std::round(mantissa * 256));
  }
  CHECK(same(unpacked(storage::kept_as(weight_storage::bf16, W)), rounded));
}

TEST_CASE("bf16: what is not finite, or not finite in bfloat16, is refused") {
  for (const double x : {std::numeric_limits<double>::infinity(), std::nan(""),
                         double(std::numeric_limits<float>::max())}) {
    table w(2, 2);
    w(1, 0) = x;
    CHECK(refusal([&] { storage::bf16_rows rows{stored(w)}; }).find("finite in bfloat16") !=
          std::string::npos);
    CHECK(storage::all_finite(stored(w)) == std::isfinite(x));
  }
}

TEST_CASE("kept as stored: the same matrix; equal compares numbers and shapes") {
  const table w = float_table(3, 4, 2);
  CHECK(same(unpacked(storage::kept_as(weight_storage::as_stored, stored(w))), w));
  CHECK(storage::equal(stored(w), stored(w)));
  table other = w;
  other(2, 3) += 1;
  CHECK_FALSE(storage::equal(stored(w), stored(other)));
  CHECK_FALSE(storage::equal(stored(w), stored(transposed(w))));
}
