// How a data set is cut into three parts.
#pragma once
#include <cstddef>
#include <vector>

namespace studies::common {

// Numbers of samples, each in one of the three parts.
struct split {
  std::vector<std::size_t> train;
  std::vector<std::size_t> validation;
  std::vector<std::size_t> test;
};

}  // namespace studies::common
