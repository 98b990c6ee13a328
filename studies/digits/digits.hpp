// The data: real 8×8 digits, how they are split, and the three shifts a classifier is adapted to.
//
//   const digits::samples digits = digits::read_digits(digits::find_digits(""));
//   const digits::shift_data data = digits::make_shift(digits, digits::shift::rotated);
//   // data.pretrain: upright, what the base has seen; data.train, .validation, .test: the shift
//
// A sample is a column of 64 pixels in [0, 1], row by row; its label is 0..9.
#pragma once
#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <preheat/core/random.hpp>

#include "studies/common/split.hpp"

namespace studies::digits {

using common::split;

inline constexpr int image_side = 8;
inline constexpr int pixels = image_side * image_side;
inline constexpr int classes = 10;

struct samples {
  std::vector<float> X;  // pixels × count, column-major
  std::vector<int> y;    // count labels

  std::size_t count() const { return y.size(); }
  std::span<const float> image(std::size_t i) const {
    return std::span(X).subspan(i * pixels, pixels);
  }
  void add(std::span<const float> image, int label) {
    X.insert(X.end(), image.begin(), image.end());
    y.push_back(label);
  }
};

// ------------------------------------------------------------------------------ reading the file

// Where digits.csv is: the file the user named; else the first that exists of the source tree's
// studies/data (when the build defines PREHEAT_DATA_DIR) and places near the executable.
// Throws std::runtime_error with the places that were tried.
inline std::filesystem::path find_digits(const std::string& named) {
  namespace fs = std::filesystem;
  if (!named.empty()) {
    if (!fs::is_regular_file(named)) {
      throw std::runtime_error("--data: no such file: " + named);
    }
    return named;
  }
  std::vector<fs::path> places;
#ifdef PREHEAT_DATA_DIR
  places.push_back(fs::path(PREHEAT_DATA_DIR) / "digits.csv");
#endif
  std::error_code unknown;  // not a Linux system: no such link, and no such place
  const fs::path program = fs::read_symlink("/proc/self/exe", unknown);
  if (!unknown) {
    places.push_back(program.parent_path() / "digits.csv");
    places.push_back(program.parent_path() / "data" / "digits.csv");
    places.push_back(program.parent_path() / ".." / "studies" / "data" / "digits.csv");
    places.push_back(program.parent_path() / ".." / "share" / "preheat" / "digits.csv");
  }
  std::string tried;
  for (const fs::path& place : places) {
    if (fs::is_regular_file(place)) {
      return place.lexically_normal();
    }
    tried += "\n  " + place.lexically_normal().string();
  }
  throw std::runtime_error("digits.csv was not found; name it with --data FILE. Tried:" + tried);
}

// Reads lines of 64 pixels 0..16 and a label 0..9, separated by commas. Pixels become value/16.
// Throws std::runtime_error naming the file and the line that breaks this.
inline samples read_digits(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error(path.string() + ": cannot be opened");
  }
  samples all;
  std::string line;
  while (std::getline(file, line)) {
    if (line.ends_with('\r')) {
      line.pop_back();
    }
    const auto wrong = [&] {
      return std::runtime_error(
          path.string() + ": line " + std::to_string(all.count() + 1) +
          ": 64 numbers 0..16 and a label 0..9 expected, separated by commas");
    };
    std::array<int, pixels + 1> values{};
    const char* next = line.data();
    const char* const end = next + line.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto [after, error] = std::from_chars(next, end, values[i]);
      const bool last = i + 1 == values.size();
      const bool separated = last ? after == end : (after != end && *after == ',');
      const int largest = last ? classes - 1 : 16;
      if (error != std::errc() || !separated || values[i] < 0 || values[i] > largest) {
        throw wrong();
      }
      next = last ? end : after + 1;
    }
    for (std::size_t i = 0; i < pixels; ++i) {
      all.X.push_back(float(values[i]) / 16);
    }
    all.y.push_back(values.back());
  }
  if (all.count() == 0) {
    throw std::runtime_error(path.string() + ": the file is empty");
  }
  return all;
}

// A number that changes when the data do: 64-bit FNV-1a over pixels (times 16) and labels.
inline std::uint64_t checksum(const samples& s) {
  std::uint64_t hash = 14695981039346656037u;
  const auto mix = [&](int byte) { hash = (hash ^ std::uint64_t(byte)) * 1099511628211u; };
  for (const float value : s.X) {
    mix(int(value * 16));
  }
  for (const int label : s.y) {
    mix(label);
  }
  return hash;
}

// ------------------------------------------------------------------------------------- splitting

inline constexpr std::size_t train_size = 1000;
inline constexpr std::size_t validation_size = 200;
inline constexpr std::uint64_t split_seed = 2024;

// Every class is spread evenly over one long order, in random order within itself: the i-th of the
// n samples of a class goes to place (i + ½)/n. So any consecutive part of the order has every
// class in proportion, within one sample, and the parts are three consecutive pieces.
// Deterministic. Throws std::invalid_argument unless train + validation < samples.
inline split stratified_split(std::span<const int> labels, std::size_t train = train_size,
                              std::size_t validation = validation_size,
                              std::uint64_t seed = split_seed) {
  if (train + validation >= labels.size()) {
    throw std::invalid_argument("train + validation < samples (" +
                                std::to_string(train + validation) + ", " +
                                std::to_string(labels.size()) + ")");
  }
  struct placed {
    double place;
    std::size_t sample;
  };
  std::vector<placed> order;
  const preheat::generator gen(seed);
  const int last_class = *std::max_element(labels.begin(), labels.end());
  for (int c = 0; c <= last_class; ++c) {
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == c) {
        members.push_back(i);
      }
    }
    preheat::random_shuffle(members, gen.fork(preheat::purpose::split, std::uint64_t(c)));
    for (std::size_t i = 0; i < members.size(); ++i) {
      order.push_back({(double(i) + 0.5) / double(members.size()), members[i]});
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const placed& a, const placed& b) { return a.place < b.place; });

  split parts;
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::vector<std::size_t>& part = i < train                ? parts.train
                                     : i < train + validation ? parts.validation
                                                              : parts.test;
    part.push_back(order[i].sample);
  }
  return parts;
}

// ---------------------------------------------------------------------------------------- shifts

// What the adaptation data differ in from the upright digits of the pretraining: turned by 90°
// counterclockwise; mirrored left to right; upright, but pretraining has seen 0..4 only.
enum class shift { rotated, mirrored, new_classes };

inline constexpr std::array all_shifts = {shift::rotated, shift::mirrored, shift::new_classes};

// The name on the command line and in files.
inline std::string_view name(shift s) {
  switch (s) {
    case shift::rotated:
      return "rotated";
    case shift::mirrored:
      return "mirrored";
    case shift::new_classes:
      return "new_classes";
  }
  return "?";
}

// What it is, for readers.
inline std::string_view describe(shift s) {
  switch (s) {
    case shift::rotated:
      return "rotated by 90°";
    case shift::mirrored:
      return "mirrored left to right";
    case shift::new_classes:
      return "new classes: 0–4, then all ten";
  }
  return "?";
}

// The image turned by 90° counterclockwise: its right column becomes the first row.
inline std::array<float, pixels> rotated(std::span<const float> image) {
  std::array<float, pixels> turned{};
  for (std::size_t i = 0; i < image_side; ++i) {
    for (std::size_t j = 0; j < image_side; ++j) {
      turned[image_side * i + j] = image[image_side * j + image_side - 1 - i];
    }
  }
  return turned;
}

// The image mirrored left to right.
inline std::array<float, pixels> mirrored(std::span<const float> image) {
  std::array<float, pixels> turned{};
  for (std::size_t i = 0; i < image_side; ++i) {
    for (std::size_t j = 0; j < image_side; ++j) {
      turned[image_side * i + j] = image[image_side * i + image_side - 1 - j];
    }
  }
  return turned;
}

// The chosen samples as a shift shows them.
inline samples seen_as(shift s, const samples& all, std::span<const std::size_t> which) {
  samples seen;
  for (const std::size_t i : which) {
    const std::span<const float> image = all.image(i);
    switch (s) {
      case shift::rotated:
        seen.add(rotated(image), all.y[i]);
        break;
      case shift::mirrored:
        seen.add(mirrored(image), all.y[i]);
        break;
      case shift::new_classes:
        seen.add(image, all.y[i]);
        break;
    }
  }
  return seen;
}

// Everything one shift needs. The base is pretrained on training samples only: nothing of the
// validation and test samples, in any orientation, is seen before it is measured on.
struct shift_data {
  samples pretrain;    // upright; for new classes only the digits 0..4
  samples train;       // of the shift
  samples validation;  // of the shift: chooses the learning rate
  samples test;        // of the shift: measured, never chosen by
};

inline shift_data make_shift(const samples& all, shift s, const split& parts) {
  constexpr int first_new_class = 5;
  shift_data data;
  for (const std::size_t i : parts.train) {
    if (s != shift::new_classes || all.y[i] < first_new_class) {
      data.pretrain.add(all.image(i), all.y[i]);
    }
  }
  data.train = seen_as(s, all, parts.train);
  data.validation = seen_as(s, all, parts.validation);
  data.test = seen_as(s, all, parts.test);
  return data;
}

inline shift_data make_shift(const samples& all, shift s) {
  return make_shift(all, s, stratified_split(all.y));
}

}  // namespace studies::digits
