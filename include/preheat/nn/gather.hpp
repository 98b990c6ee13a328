// Columns of a table by their numbers: x_j = table_{ids_j}, in one call where the backend has one.
// Cost: O(rows · columns of x).
#pragma once
#include <span>
#include <type_traits>

#include "encoder_backend.hpp"

namespace preheat::nn {

template <backend Be, class X = scalar_of<Be>>
void gather(Be& be, view<const std::type_identity_t<X>> table, std::span<const index_t> ids,
            view<std::type_identity_t<X>> x) {
  if constexpr (gathers_columns<Be>) {
    be.gather_cols(table, ids, x);
  } else {
    for (index_t j = 0; j < x.cols(); ++j) {
      be.copy(transpose::no, table.col_range(ids[std::size_t(j)], 1), x.col_range(j, 1));
    }
  }
}

}  // namespace preheat::nn
