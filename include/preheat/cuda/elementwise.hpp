// f(k, x_k, a_k, …) for all entries of matrices of one shape, on the device. A thread takes four entries of one column,
// or eight where all are of two bytes, and reads and writes 16 bytes at once where all matrices are aligned for that.
// Matrices without gaps between their columns are one long column. f gets entries of a small type as numbers of float
// (computed_in), which are rounded afterwards.
#pragma once
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels.hpp"
#include "launch.hpp"

namespace preheat::cuda_kernels {

// Consecutive entries, moved together.
template <class T, index_t Count>
struct alignas(Count * sizeof(T) < 16 ? Count * sizeof(T) : 16) pack {
  T values[Count];
};
// How many entries of matrices of these types a thread takes.
template <class... Ts>
inline constexpr index_t pack_size = ((sizeof(Ts) <= 2) && ...) ? 8 : 4;

template <class F, class... Ts>
struct elementwise {
  F f;
  index_t rows;
  index_t cols;
  bool aligned;
  windows<Ts...> operands;

  static constexpr index_t size = pack_size<Ts...>;

  constexpr index_t packs_of_column() const { return (rows + size - 1) / size; }
  constexpr index_t threads() const { return cols * packs_of_column(); }
  constexpr void operator()(index_t number) const {
    const index_t j = cols == 1 ? 0 : quotient(number, packs_of_column());
    const index_t i = (number - j * packs_of_column()) * size;
    if (aligned && i + size <= rows) {
      call_pack(i, j, operands);
    } else {
      for (index_t row = i; row < rows && row < i + size; ++row) {
        call_entry(row, j, operands);
      }
    }
  }

 private:
  // By 32-bit arithmetic where that suffices, because a division of 64 bits takes many instructions.
  static constexpr index_t quotient(index_t a, index_t b) {
    return a <= std::numeric_limits<std::int32_t>::max()
               ? index_t(std::uint32_t(a) / std::uint32_t(b))
               : a / b;
  }
  template <class... Seen>
  constexpr void call_entry(index_t i, index_t j, const windows<>&, Seen&... seen) const {
    f(i + j * rows, seen...);
  }
  template <class U, class... Us, class... Seen>
  constexpr void call_entry(index_t i, index_t j, const windows<U, Us...>& left,
                            Seen&... seen) const {
    using number = computed_in<U>;
    U& place = left.first.data[i + j * left.first.ld];
    if constexpr (std::is_same_v<number, std::remove_const_t<U>>) {
      call_entry(i, j, left.others, seen..., place);
    } else {
      number value = number(place);
      call_entry(i, j, left.others, seen..., value);
      if constexpr (!std::is_const_v<U>) {
        place = U(value);
      }
    }
  }
  template <class... Seen>
  constexpr void call_pack(index_t i, index_t j, const windows<>&, Seen&... seen) const {
    for (index_t k = 0; k < size; ++k) {
      f(i + k + j * rows, seen.values[k]...);
    }
  }
  template <class U, class... Us, class... Seen>
  constexpr void call_pack(index_t i, index_t j, const windows<U, Us...>& left,
                           Seen&... seen) const {
    using entry = std::remove_const_t<U>;
    using number = computed_in<U>;
    using packed = std::conditional_t<std::is_const_v<U>, const pack<entry, size>, pack<U, size>>;
    packed* const place = reinterpret_cast<packed*>(left.first.data + i + j * left.first.ld);
    if constexpr (std::is_same_v<number, entry>) {
      packed values = *place;
      call_pack(i, j, left.others, seen..., values);
      if constexpr (!std::is_const_v<U>) {
        *place = values;
      }
    } else {
      const pack<entry, size> values = *place;
      pack<number, size> wide{};
      for (index_t k = 0; k < size; ++k) {
        wide.values[k] = number(values.values[k]);
      }
      if constexpr (std::is_const_v<U>) {
        call_pack(i, j, left.others, seen..., std::as_const(wide));
      } else {
        call_pack(i, j, left.others, seen..., wide);
        pack<entry, size> rounded;
        for (index_t k = 0; k < size; ++k) {
          rounded.values[k] = entry(wide.values[k]);
        }
        *place = rounded;
      }
    }
  }
};

}  // namespace preheat::cuda_kernels

namespace preheat::detail {

// Whether every column begins where a pack of so many entries may.
template <index_t Count, class T>
bool aligned_for_packs(view<T> x) {
  constexpr std::size_t unit = alignof(cuda_kernels::pack<std::remove_const_t<T>, Count>);
  return reinterpret_cast<std::uintptr_t>(x.data()) % unit == 0 &&
         std::size_t(x.ld()) * sizeof(T) % unit == 0;
}

// The views have one shape.
template <class F, class T, class... Ts>
cuda_kernels::elementwise<F, T, Ts...> pass_of(F f, view<T> x, view<Ts>... others) {
  if (x.ld() == x.rows() && ((others.ld() == others.rows()) && ...)) {
    x = view<T>(x.data(), x.size(), 1);
    ((others = view<Ts>(others.data(), others.size(), 1)), ...);
  }
  constexpr index_t size = cuda_kernels::pack_size<T, Ts...>;
  return {f, x.rows(), x.cols(),
          aligned_for_packs<size>(x) && (aligned_for_packs<size>(others) && ...),
          cuda_kernels::windows_of(x, others...)};
}
template <class F, class... Ts>
void for_each_entry(const cuda_context& context, F f, view<Ts>... all) {
  const auto pass = pass_of(f, all...);
  launch(context, pass.threads(), pass);
}

}  // namespace preheat::detail
