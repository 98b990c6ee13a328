// NF4 against bitsandbytes: the packed codes, the scales and their second quantization, and the numbers
// that come back.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <preheat/storage/dynamic_code.hpp>
#include <preheat/storage/nf4_rows.hpp>

#include "fixtures.hpp"
#include "support/stored.hpp"

namespace {

using namespace golden;
using namespace preheat;
using storage::nf4_rows;
using storage::scale_kind;

conformance::table table_of(const dense& M) {
  conformance::table t(M.rows(), M.cols());
  for (index_t j = 0; j < M.cols(); ++j) {
    for (index_t i = 0; i < M.rows(); ++i) {
      t(i, j) = M(i, j);
    }
  }
  return t;
}

// Another directory of fixtures need not have this one.
bool left_out() {
  return std::getenv("PREHEAT_GOLDEN_DIR") != nullptr &&
         !std::filesystem::exists(path_of("nf4.safetensors"));
}

}  // namespace

TEST_CASE("nf4: codes, scales and numbers of bitsandbytes, with and without double quantization") {
  if (left_out()) {
    MESSAGE("this directory of fixtures has no nf4.safetensors");
    return;
  }
  const fixture file("nf4");
  REQUIRE(file.param<index_t>("block") == nf4_rows::block);
  REQUIRE(file.param<index_t>("scales_block") == nf4_rows::scales_block);
  const dense W = file.matrix("W");
  const stored_matrix given = conformance::stored(table_of(W));
  for (const std::string name : {"plain", "nested"}) {
    CAPTURE(name);
    const auto rows = std::make_shared<const nf4_rows>(
        given, name == "plain" ? scale_kind::floats : scale_kind::doubly_quantized);
    const std::vector<double> codes = file.entries(name + ".codes");
    REQUIRE(index_t(codes.size()) * 2 >= W.size());
    index_t different = 0;
    for (index_t k = 0; k < W.size(); ++k) {
      const int pair = int(codes[std::size_t(k / 2)]);
      different += rows->code(k) != (k % 2 == 0 ? pair >> 4 : pair & 0xF);
    }
    CHECK(different == 0);
    const dense expected = file.matrix(name + ".dequantized");
    const conformance::table found = conformance::unpacked(stored_matrix(rows));
    for (index_t i = 0; i < W.rows(); ++i) {
      for (index_t j = 0; j < W.cols(); ++j) {
        const double c = double(rows->scale((i * W.cols() + j) / 64));
        CHECK(std::abs(found(i, j) - expected(i, j)) <= 1e-6 * c);
      }
    }
  }
}

TEST_CASE("nf4: the scales of bitsandbytes, and its dynamic code") {
  if (left_out()) {
    MESSAGE("this directory of fixtures has no nf4.safetensors");
    return;
  }
  const fixture file("nf4");
  const std::vector<double> code = file.entries("nested.code");
  REQUIRE(code.size() == storage::dynamic_code.size());
  for (std::size_t k = 0; k < code.size(); ++k) {
    CHECK(double(storage::dynamic_code[k]) == doctest::Approx(code[k]).epsilon(1e-6));
  }
  const stored_matrix given = conformance::stored(table_of(file.matrix("W")));
  const nf4_rows plain(given, scale_kind::floats);
  const nf4_rows nested(given, scale_kind::doubly_quantized);
  const std::vector<double> absmax = file.entries("plain.absmax");
  const std::vector<double> places = file.entries("nested.absmax_codes");
  const std::vector<double> scales = file.entries("nested.scales");
  const double offset = file.scalar("nested.offset");
  for (std::size_t b = 0; b < absmax.size(); ++b) {
    CHECK(double(plain.scale(index_t(b))) == absmax[b]);
    const double expected = scales[b / 256] * code[std::size_t(places[b])] + offset;
    CHECK(double(nested.scale(index_t(b))) == doctest::Approx(expected).epsilon(1e-5));
  }
}
