// A packet of numbers in one SIMD register, for elementwise kernels, and the loops over memory that
// call a kernel with packets.
//
// A kernel that says `static constexpr bool any_value = true` has a call operator for any value
// type V: it uses arithmetic, and sqrt, exp, erf, max by unqualified calls after `using math::sqrt;`
// and so on. The CPU backend calls it with V = packet<T>, which vectorizes what a compiler may not
// (std::sqrt sets errno; GCC at -O2 vectorizes hardly anything); everywhere else V = T.
//
// Packets are vectors of GCC and clang (vector_size): the compiler chooses the instructions for the
// instruction set of the file. Everything here is a template over that set (Isa).
#pragma once
#include <cmath>
#include <type_traits>
#include <utility>

#include "../core/math.hpp"
#include "../core/types.hpp"
#include "instruction_set.hpp"
#include "registers.hpp"

namespace preheat {

template <class T, class Isa>
class packet {
 public:
  using native = typename detail::registers<T, Isa::bytes>::numbers;
  using bits = typename detail::registers<T, Isa::bytes>::integers;
  static constexpr int size = Isa::bytes / int(sizeof(T));

  packet() = default;
  [[gnu::always_inline]] packet(T x) : value_(x - native{}) {}  // keeps −0
  [[gnu::always_inline]] static packet load(const T* from) {
    packet p;
    __builtin_memcpy(&p.value_, from, sizeof(native));
    return p;
  }
  [[gnu::always_inline]] void store(T* to) const { __builtin_memcpy(to, &value_, sizeof(native)); }
  // The first `count` numbers, the others `rest`.
  [[gnu::always_inline]] static packet load(const T* from, index_t count, T rest) {
    return of(detail::load_first<Isa::bytes>(from, count, rest));
  }
  [[gnu::always_inline]] void store(T* to, index_t count) const {
    detail::store_first<Isa::bytes>(value_, to, count);
  }

  [[gnu::always_inline]] friend packet operator+(packet a, packet b) {
    return of(a.value_ + b.value_);
  }
  [[gnu::always_inline]] friend packet operator-(packet a, packet b) {
    return of(a.value_ - b.value_);
  }
  [[gnu::always_inline]] friend packet operator*(packet a, packet b) {
    return of(a.value_ * b.value_);
  }
  [[gnu::always_inline]] friend packet operator/(packet a, packet b) {
    return of(a.value_ / b.value_);
  }
  [[gnu::always_inline]] friend packet operator-(packet a) { return of(-a.value_); }
  [[gnu::always_inline]] friend packet& operator+=(packet& a, packet b) { return a = a + b; }
  [[gnu::always_inline]] friend packet& operator-=(packet& a, packet b) { return a = a - b; }
  [[gnu::always_inline]] friend packet& operator*=(packet& a, packet b) { return a = a * b; }

  [[gnu::always_inline]] friend packet sqrt(packet x) {
    return of(detail::square_roots<Isa::bytes>(x.value_));
  }
  // NaN where one of the two is.
  [[gnu::always_inline]] friend packet max(packet a, packet b) {
    return select((a.value_ > b.value_) | (a.value_ != a.value_), a, b);
  }
  [[gnu::always_inline]] friend packet exp(packet x) {
    return math::exp_within<T>(clamp(x, math::layout<T>::exp_edge));
  }
  [[gnu::always_inline]] friend packet erf(packet x) {
    if constexpr (std::is_same_v<T, float>) {
      return math::erf_within(clamp(x, math::erf_edge));
    } else {
      T lanes[size];
      x.store(lanes);
      for (T& lane : lanes) {
        lane = std::erf(lane);
      }
      return load(lanes);
    }
  }
  // 2ⁿ for the n that exp_within has added to its magic number.
  [[gnu::always_inline]] friend packet power_of_two(packet shifted) {
    const bits exponent = bits(shifted.value_) - math::exponent_offset<T>;
    return of(native(exponent << math::layout<T>::mantissa));
  }

  // The sum and the largest of all numbers in the packet.
  [[gnu::always_inline]] T sum() const {
    return folded<size / 2>([](packet a, packet b) { return a + b; });
  }
  [[gnu::always_inline]] T largest() const {
    return folded<size / 2>([](packet a, packet b) { return max(a, b); });
  }

 private:
  [[gnu::always_inline]] static packet of(native value) {
    packet p;
    p.value_ = value;
    return p;
  }
  // a where the mask is set, else b
  [[gnu::always_inline]] static packet select(bits mask, packet a, packet b) {
    return of(native((bits(a.value_) & mask) | (bits(b.value_) & ~mask)));
  }
  // x cut to ±edge; NaN stays NaN.
  [[gnu::always_inline]] static packet clamp(packet x, T edge) {
    const packet high(edge);
    const packet low(-edge);
    x = select(x.value_ > high.value_, high, x);
    return select(x.value_ < low.value_, low, x);
  }
  // In pairs of numbers i and i + Half: the order does not depend on the compiler.
  template <int Half, class F>
  [[gnu::always_inline]] T folded(F f) const {
    const auto other = detail::rotated<Half, bits>(value_, std::make_integer_sequence<int, size>());
    const packet halves = f(*this, of(other));
    if constexpr (Half > 1) {
      return halves.template folded<Half / 2>(f);
    } else {
      return halves.value_[0];
    }
  }

  native value_;
};

// Whether an elementwise kernel takes packets.
template <class F>
concept packet_kernel = requires {
  requires F::any_value;
};

// One pass over memory: the kernel at `kernel` on every entry of columns of that length, the first
// of which has the number `start`.
template <class T>
using pass_function = void(const void* kernel, index_t start, index_t length, T* const* columns);

namespace detail {

// Whether f takes its operand number K by value or const reference: only then may it be a temporary.
template <class F, class V, int K, int... I>
constexpr bool reads_only(std::integer_sequence<int, I...>) {
  return std::is_invocable_v<const F&, std::conditional_t<I == K, V&&, V&>...>;
}

// f on `count` entries at these addresses, as many as a packet holds or fewer; those that it may
// change are written back.
template <class T, class Isa, bool Whole, class F, int... I, class... Ps>
[[gnu::always_inline]] inline void on_packets(const F& f, index_t count,
                                              std::integer_sequence<int, I...> all, Ps*... at) {
  using V = packet<T, Isa>;
  const auto load = [&](const T* from) {
    if constexpr (Whole) {
      return V::load(from);
    } else {
      return V::load(from, count, T(0));
    }
  };
  const auto store = [&](auto read_only, const V& value, T* to) {
    if constexpr (read_only) {
    } else if constexpr (Whole) {
      value.store(to);
    } else {
      value.store(to, count);
    }
  };
  [&](auto... values) {
    f(values...);
    (store(std::bool_constant<reads_only<F, V, I>(all)>(), values, at), ...);
  }(load(at)...);
}

template <class T, class Isa, class F, int... I, class... Ps>
[[gnu::always_inline]] inline void over_columns(F f, index_t length,
                                                std::integer_sequence<int, I...> all,
                                                Ps*... columns) {
  constexpr index_t size = packet<T, Isa>::size;
  const index_t whole = length - length % size;
  for (index_t i = 0; i < whole; i += size) {
    on_packets<T, Isa, true>(f, size, all, columns + i...);
  }
  if (whole < length) {
    on_packets<T, Isa, false>(f, length - whole, all, columns + whole...);
  }
}

template <class T, class Isa, class F, int... I>
[[gnu::always_inline]] inline void over_columns(const void* kernel, index_t length,
                                                T* const* columns,
                                                std::integer_sequence<int, I...> all) {
  // A copy of the kernel: stores cannot alias it.
  over_columns<T, Isa>(*static_cast<const F*>(kernel), length, all, columns[I]...);
}

}  // namespace detail

// The pass of a packet kernel with N operands. An entry's result does not depend on where it stands.
template <class T, class Isa, class F, int N>
void packet_pass(const void* kernel, index_t, index_t length, T* const* columns) {
  detail::over_columns<T, Isa, F>(kernel, length, columns, std::make_integer_sequence<int, N>());
}

}  // namespace preheat
