// Numbers between a file's bytes and a matrix of float or double, without a transposition: a
// row-major tensor [rows, cols] is, where it lies, a column-major matrix cols×rows. So a row of the
// file is a column of the matrix.
#pragma once
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "dtype.hpp"
#include "tensor_info.hpp"

namespace preheat::safetensors {

// Reads `to.cols()` rows of `to.rows()` entries each, from entry `first` of a floating-point tensor
// on, as the columns of `to`. Errors: invalid_argument, naming the tensor, if it has fewer entries or
// is not of a floating-point dtype.
template <std::floating_point T>
void read_rows(std::string_view name, const tensor_info& tensor, index_t first, view<T> to) {
  require(first >= 0 && first + to.size() <= tensor.count(),
          "tensor " + files::in_quotes(name) + ": entries read <= entries there are",
          first + to.size(), tensor.count());
  bool read = false;
  visit_dtype(tensor.type, [&]<class Stored>(std::type_identity<Stored>) {
    if constexpr (floating_element<Stored>) {
      const std::byte* from = tensor.bytes.data() + std::size_t(first) * sizeof(Stored);
      for (index_t j = 0; j < to.cols(); ++j) {
        T* const column = to.data() + j * to.ld();
        if constexpr (std::is_same_v<Stored, T>) {
          std::memcpy(column, from, std::size_t(to.rows()) * sizeof(T));
        } else {
          for (index_t i = 0; i < to.rows(); ++i) {
            Stored stored;
            std::memcpy(&stored, from + std::size_t(i) * sizeof(Stored), sizeof(Stored));
            column[i] = convert<T>(stored);
          }
        }
        from += std::size_t(to.rows()) * sizeof(Stored);
      }
      read = true;
    }
  });
  require(read, "tensor " + files::in_quotes(name) + ": a floating-point dtype is needed, it is " +
                    std::string(name_of(tensor.type)));
}

// The columns of `from` as rows of bytes of a floating-point dtype, rounded to nearest. Errors:
// invalid_argument, naming the tensor, if a finite number is beyond the largest of the dtype.
template <std::floating_point T>
std::vector<std::byte> rows_as_bytes(std::string_view name, view<const T> from, dtype stored) {
  require(is_floating(stored), "tensor " + files::in_quotes(name) +
                                   ": floating-point numbers are stored as F64, F32, F16 or BF16");
  std::vector<std::byte> bytes(std::size_t(from.size()) * std::size_t(size_of(stored)));
  bool overflow = false;
  visit_dtype(stored, [&]<class Stored>(std::type_identity<Stored>) {
    if constexpr (floating_element<Stored>) {
      std::byte* to = bytes.data();
      for (index_t j = 0; j < from.cols(); ++j) {
        const T* const column = from.data() + j * from.ld();
        for (index_t i = 0; i < from.rows(); ++i) {
          const Stored entry = convert<Stored>(column[i]);
          if constexpr (sizeof(Stored) < sizeof(T)) {
            overflow = overflow || (std::isinf(convert<T>(entry)) && !std::isinf(column[i]));
          }
          std::memcpy(to, &entry, sizeof(Stored));
          to += sizeof(Stored);
        }
      }
    }
  });
  require(!overflow, "tensor " + files::in_quotes(name) + ": a number is too large for " +
                         std::string(name_of(stored)));
  return bytes;
}

// The only entry of a tensor of any number dtype; false if its dtype is none.
inline bool read_number(const tensor_info& tensor, double& value) {
  return tensor.count() == 1 &&
         visit_dtype(tensor.type, [&]<class Stored>(std::type_identity<Stored>) {
           Stored stored;
           std::memcpy(&stored, tensor.bytes.data(), sizeof(Stored));
           value = convert<double>(stored);
         });
}

}  // namespace preheat::safetensors
