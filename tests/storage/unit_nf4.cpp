// NF4 as QLoRA defines it: the nearest level in every block, packed in 4 bits, with scales of floats or
// doubly quantized, against plain loops and against the error that the codes allow.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <preheat/cpu/backend.hpp>
#include <preheat/storage/nf4_rows.hpp>
#include <set>

#include "support/refusal.hpp"
#include "support/stored.hpp"

using namespace conformance;
using namespace preheat;
using storage::dynamic_code;
using storage::nf4_rows;
using storage::scale_kind;

namespace {

stored_matrix nf4(const table& w, scale_kind scales) {
  return stored_matrix(std::make_shared<const nf4_rows>(stored(w), scales));
}
// Entry k of a table row by row.
double entry(const table& w, index_t k) {
  return w(k / w.cols, k % w.cols);
}

double largest_of_block(const table& w, index_t block) {
  double c = 0;
  for (index_t k = block * 64; k < std::min(block * 64 + 64, w.rows * w.cols); ++k) {
    c = std::max(c, std::abs(entry(w, k)));
  }
  return c;
}

// Shapes whose rows end inside a block, and inside a byte.
const std::vector<table>& samples() {
  static const std::vector<table> all = {float_table(1, 1, 1),   float_table(1, 64, 2),
                                         float_table(5, 7, 3),   float_table(3, 65, 4),
                                         float_table(9, 576, 5), float_table(77, 300, 6)};
  return all;
}

}  // namespace

TEST_CASE("NF4: every entry goes to the nearest level of its block's largest magnitude") {
  for (const table& w : samples()) {
    const nf4_rows rows(stored(w), scale_kind::floats);
    const table q = unpacked(nf4(w, scale_kind::floats));
    CAPTURE(w.cols);
    for (index_t k = 0; k < w.rows * w.cols; ++k) {
      const double c = largest_of_block(w, k / 64);
      CHECK(rows.scale(k / 64) == float(c));
      double least = std::numeric_limits<double>::infinity();
      for (const double level : linalg::nf4_levels) {
        least = std::min(least, std::abs(c * level - entry(w, k)));
      }
      const double error = std::abs(entry(q, k) - entry(w, k));
      CHECK(error <= least + 1e-6 * c);
      CHECK(error <= 0.152 * c);
      CHECK(entry(q, k) == double(float(linalg::nf4_levels[rows.code(k)]) * float(c)));
    }
  }
}

TEST_CASE("NF4: with scales of floats it is the rounding that LoftQ uses") {
  cpu<float> be;
  for (const table& w : samples()) {
    const table rounded = read(be, linalg::nf4_rounded(be, matrix(be, w)));
    CHECK(gap(unpacked(nf4(w, scale_kind::floats)), rounded) <= 1e-6 * largest(w));
  }
}

TEST_CASE("NF4: rounding twice is rounding once; zeros are zeros; every level and its negative") {
  for (const table& w : samples()) {
    const table q = unpacked(nf4(w, scale_kind::floats));
    CHECK(same(unpacked(nf4(q, scale_kind::floats)), q));
  }
  CHECK(largest(unpacked(nf4(table(3, 100), scale_kind::floats))) == 0);
  CHECK(largest(unpacked(nf4(table(3, 100), scale_kind::doubly_quantized))) == 0);
  table levels(1, 16);
  for (index_t q = 0; q < 16; ++q) {
    levels(0, q) = linalg::nf4_levels[q];
  }
  const nf4_rows rows(stored(levels), scale_kind::floats);
  for (index_t q = 0; q < 16; ++q) {
    CHECK(rows.code(q) == q);
  }
}

TEST_CASE("NF4: any part of a row is unpacked as the whole row is") {
  for (const table& w : samples()) {
    for (const scale_kind scales : {scale_kind::floats, scale_kind::doubly_quantized}) {
      const stored_matrix W = nf4(w, scales);
      const table whole = unpacked(W);
      for (index_t row = 0; row < std::min<index_t>(w.rows, 3); ++row) {
        for (index_t begin = 0; begin < w.cols; begin += 13) {
          for (index_t end = begin; end <= w.cols; end += 17) {
            std::vector<float> part(std::size_t(end - begin) + 1, -7.0F);
            W.unpack(row, begin, end, part.data());
            bool equal = part.back() == -7.0F;  // nothing is written behind the end
            for (index_t j = begin; j < end; ++j) {
              equal = equal && double(part[std::size_t(j - begin)]) == whole(row, j);
            }
            CHECK(equal);
          }
        }
      }
    }
  }
}

TEST_CASE("NF4: doubly quantized scales are the nearest dynamic codes around the mean") {
  const table w = float_table(77, 300, 6);  // 361 blocks: two blocks of scales
  const nf4_rows plain(stored(w), scale_kind::floats);
  const nf4_rows twice(stored(w), scale_kind::doubly_quantized);
  const index_t blocks = (w.rows * w.cols + 63) / 64;
  REQUIRE(blocks > 256);
  double mean = 0;
  for (index_t b = 0; b < blocks; ++b) {
    mean += double(plain.scale(b)) / double(blocks);
  }
  for (index_t first = 0; first < blocks; first += 256) {
    const index_t end = std::min(blocks, first + 256);
    double d = 0;
    for (index_t b = first; b < end; ++b) {
      d = std::max(d, std::abs(double(plain.scale(b)) - mean));
    }
    for (index_t b = first; b < end; ++b) {
      double least = std::numeric_limits<double>::infinity();
      for (const float code : dynamic_code) {
        least = std::min(least, std::abs(d * double(code) + mean - double(plain.scale(b))));
      }
      const double error = std::abs(double(twice.scale(b)) - double(plain.scale(b)));
      CHECK(error <= least + 1e-6 * (d + mean));
      CHECK(error <= 0.0071 * d + 1e-6 * mean);
    }
  }
  for (index_t k = 0; k < w.rows * w.cols; ++k) {
    CHECK(plain.code(k) == twice.code(k));
  }
}

TEST_CASE("NF4: the memory that QLoRA states") {
  const table w = float_table(256, 256, 7);
  const double entries = 256 * 256;
  CHECK(double(nf4(w, scale_kind::floats).bytes()) * 8 / entries == 4.5);
  const double bits = double(nf4(w, scale_kind::doubly_quantized).bytes()) * 8 / entries;
  CHECK(bits == doctest::Approx(4.127).epsilon(1e-3));
}

TEST_CASE(
    "NF4: the dynamic code has 256 different numbers from -0.99 to 1, and finds the nearest") {
  const std::set<float> different(dynamic_code.begin(), dynamic_code.end());
  CHECK(different.size() == 256);
  CHECK(std::is_sorted(dynamic_code.begin(), dynamic_code.end()));
  CHECK(dynamic_code.back() == 1);
  CHECK(dynamic_code[0] == doctest::Approx(-(1 + (0.1 + 0.9 * 63 / 64)) / 2));
  CHECK(different.contains(0.0F));
  for (int i = -1000; i <= 1000; ++i) {
    const float z = float(i) / 1000;
    float least = 9;
    for (const float code : dynamic_code) {
      least = std::min(least, std::abs(code - z));
    }
    CHECK(std::abs(dynamic_code[storage::nearest_dynamic_code(z)] - z) == least);
    CHECK(least <= 0.0071F);
  }
}

TEST_CASE("NF4: entries that are not finite are refused") {
  table w(2, 3);
  w(1, 1) = std::nan("");
  CHECK(refusal([&] { nf4(w, scale_kind::floats); }).find("nf4: entries are finite") !=
        std::string::npos);
}
