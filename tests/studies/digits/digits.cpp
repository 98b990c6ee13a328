// The data of the digits: how the file is read, split, and shifted.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <span>
#include <stdexcept>
#include <string>

#include "studies/digits/digits.hpp"
#include "support/scratch.hpp"

namespace {

using namespace studies::digits;
using scratch::temporary_directory;

std::filesystem::path digits_file() {
  return std::filesystem::path(PREHEAT_DATA_DIR) / "digits.csv";
}

const samples& digits() {
  static const samples all = read_digits(digits_file());
  return all;
}

}  // namespace

// ------------------------------------------------------------------------------------- the digits

TEST_CASE("digits: the digits are read whole and scaled to [0, 1]") {
  REQUIRE(digits().count() == 1797);
  REQUIRE(digits().X.size() == std::size_t(1797 * 64));
  const auto [low, high] = std::minmax_element(digits().X.begin(), digits().X.end());
  CHECK(*low == 0);
  CHECK(*high == 1);
  CHECK(digits().X[2] == 5.0f / 16);  // the third pixel of the first digit
  CHECK(std::count(digits().y.begin(), digits().y.end(), 0) == 178);
  CHECK(checksum(digits()) == 0x99755255092d82a1);
}

TEST_CASE("digits: a broken file of digits is refused with its line") {
  const temporary_directory place;
  const std::filesystem::path file = place / "digits.csv";
  std::string good;
  for (int i = 0; i < 64; ++i) {
    good += std::to_string(i % 17) + ",";
  }
  const auto error_of = [&](const std::string& text) {
    std::ofstream(file) << text;
    try {
      read_digits(file);
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  CHECK(error_of(good + "9\n" + good + "0\r\n") == "none");
  for (const std::string& bad :
       {good + "10\n", good + "9,\n", good + "\n", "17" + good.substr(1) + "9\n", good + "x\n",
        good + "1,2\n", std::string("\n")}) {
    CAPTURE(bad);
    CHECK(error_of(good + "9\n" + bad).find("line 2:") != std::string::npos);
  }
  CHECK(error_of("").find("empty") != std::string::npos);
  CHECK_THROWS_AS(read_digits(place / "missing.csv"), std::runtime_error);
  CHECK_THROWS_AS(find_digits((place / "missing.csv").string()), std::runtime_error);
}

TEST_CASE("digits: the split is stratified, disjoint and always the same") {
  const split parts = stratified_split(digits().y);
  CHECK(parts.train.size() == 1000);
  CHECK(parts.validation.size() == 200);
  CHECK(parts.test.size() == 597);

  std::set<std::size_t> all;
  for (const auto* part : {&parts.train, &parts.validation, &parts.test}) {
    all.insert(part->begin(), part->end());
    for (int c = 0; c < classes; ++c) {
      const auto in_part = std::count_if(part->begin(), part->end(),
                                         [&](std::size_t i) { return digits().y[i] == c; });
      const auto in_all = std::count(digits().y.begin(), digits().y.end(), c);
      const double proportional = double(in_all) * double(part->size()) / 1797;
      CAPTURE(c);
      CHECK(std::abs(double(in_part) - proportional) <= 1);
    }
  }
  CHECK(all.size() == 1797);

  std::uint64_t hash = 14695981039346656037u;
  for (const auto* part : {&parts.train, &parts.validation, &parts.test}) {
    for (const std::size_t i : *part) {
      hash = (hash ^ i) * 1099511628211u;
    }
  }
  CHECK(hash == 12189611483583620203u);

  const split other = stratified_split(digits().y, train_size, validation_size, split_seed + 1);
  CHECK(other.train != parts.train);
  CHECK_THROWS_AS(stratified_split(digits().y, 1797, 0), std::invalid_argument);
}

TEST_CASE("digits: four turns and two mirrorings change nothing, one does") {
  for (std::size_t i = 0; i < 50; ++i) {
    const std::span<const float> image = digits().image(i);
    std::array<float, pixels> turned{};
    std::copy(image.begin(), image.end(), turned.begin());
    const std::array<float, pixels> original = turned;
    for (int k = 0; k < 4; ++k) {
      turned = rotated(turned);
      CHECK((turned == original) == (k == 3));
    }
    CHECK(mirrored(mirrored(original)) == original);
    // a mirrored image turned is the thrice turned image mirrored
    CHECK(rotated(mirrored(original)) == mirrored(rotated(rotated(rotated(original)))));
  }
  // Counterclockwise: what is at the right, at the top, comes to the left, at the top.
  std::array<float, pixels> corner{};
  corner[7] = 1;
  CHECK(rotated(corner)[0] == 1);
  CHECK(mirrored(corner)[0] == 1);
}

TEST_CASE("digits: each shift has its data") {
  const split parts = stratified_split(digits().y);
  for (const shift s : all_shifts) {
    const shift_data data = make_shift(digits(), s, parts);
    CAPTURE(std::string(name(s)));
    CHECK(data.train.count() == 1000);
    CHECK(data.validation.count() == 200);
    CHECK(data.test.count() == 597);
    CHECK(data.test.X.size() == std::size_t(597 * 64));
    const std::span<const float> before = digits().image(parts.train[0]);
    const std::span<const float> after = data.train.image(0);
    const bool same = std::equal(before.begin(), before.end(), after.begin());
    CHECK(same == (s == shift::new_classes));
    const int largest = *std::max_element(data.pretrain.y.begin(), data.pretrain.y.end());
    CHECK(largest == (s == shift::new_classes ? 4 : 9));
    CHECK(*std::max_element(data.test.y.begin(), data.test.y.end()) == 9);
  }
}
