// A colour and a point for every method: shades of one colour in a family.
#pragma once
#include <array>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "figures.hpp"

namespace studies::common {

inline std::span<const char* const> colours(family f) {
  static constexpr std::array reference = {"#000000", "#7f7f7f"};
  static constexpr std::array random = {"#08519c", "#17a2d8", "#6b8cff"};
  static constexpr std::array weight = {"#1b7837", "#7fbf7b"};
  static constexpr std::array preheated = {"#d7191c", "#fd8d3c", "#e7298a", "#8c2d04", "#e6ab02"};
  static constexpr std::array system = {"#54278f", "#006d6f", "#808000", "#5c4033", "#20b2aa",
                                        "#9e9ac8", "#a0522d", "#9acd32", "#3d3a00"};
  switch (f) {
    case family::reference:
      return reference;
    case family::random:
      return random;
    case family::weight:
      return weight;
    case family::preheated:
      return preheated;
    default:
      return system;
  }
}

// By identifier. All systems are one family here.
template <class Method>
std::map<std::string, line_style> choose_styles(const std::vector<Method>& methods) {
  constexpr std::array points = {7, 5, 9, 11};  // gnuplot's
  std::map<family, std::size_t> used;
  std::map<std::string, line_style> styles;
  for (const Method& m : methods) {
    const std::size_t number = used[is_system(m.kind) ? family::structured : m.kind]++;
    const auto palette = colours(m.kind);
    styles[m.id] = {palette[number % palette.size()], points[number % points.size()], 1};
  }
  return styles;
}

}  // namespace studies::common
