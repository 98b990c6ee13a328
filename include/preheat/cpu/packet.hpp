// A packet of numbers in one SIMD register, for elementwise kernels: as many as the compiler's
// options allow, by Eigen's packet math.
//
// A kernel that says `static constexpr bool any_value = true` has a call operator for any value
// type V: it uses arithmetic, and sqrt, exp, erf, max by unqualified calls after `using math::sqrt;`
// and so on. The CPU backend calls it with V = packet<T>, which vectorizes what a compiler may not
// (std::sqrt sets errno; GCC at -O2 vectorizes hardly anything); everywhere else V = T.
#pragma once
#include <Eigen/Core>
#include <algorithm>
#include <type_traits>
#include <utility>

#include "../core/math.hpp"
#include "../core/types.hpp"

namespace preheat {

namespace detail {
// Correctly rounded, where Eigen's psqrt takes an estimate and a Newton step.
template <class Native>
Native packet_sqrt(Native x) {
  return Eigen::internal::psqrt(x);
}
#if defined(EIGEN_VECTORIZE_SSE2)
inline __m128 packet_sqrt(__m128 x) {
  return _mm_sqrt_ps(x);
}
inline __m128d packet_sqrt(__m128d x) {
  return _mm_sqrt_pd(x);
}
#endif
#if defined(EIGEN_VECTORIZE_AVX)
inline __m256 packet_sqrt(__m256 x) {
  return _mm256_sqrt_ps(x);
}
inline __m256d packet_sqrt(__m256d x) {
  return _mm256_sqrt_pd(x);
}
#endif
#if defined(EIGEN_VECTORIZE_AVX512)
inline __m512 packet_sqrt(__m512 x) {
  return _mm512_sqrt_ps(x);
}
inline __m512d packet_sqrt(__m512d x) {
  return _mm512_sqrt_pd(x);
}
#endif
}  // namespace detail

template <class T>
class packet {
 public:
  using native = typename Eigen::internal::packet_traits<T>::type;
  static constexpr bool available = Eigen::internal::packet_traits<T>::Vectorizable;
  static constexpr int size = Eigen::internal::unpacket_traits<native>::size;

  packet() = default;
  packet(T x) : value_(Eigen::internal::pset1<native>(x)) {}
  static packet load(const T* from) { return packet(Eigen::internal::ploadu<native>(from)); }
  void store(T* to) const { Eigen::internal::pstoreu(to, value_); }

  friend packet operator+(packet a, packet b) { return Eigen::internal::padd(a.value_, b.value_); }
  friend packet operator-(packet a, packet b) { return Eigen::internal::psub(a.value_, b.value_); }
  friend packet operator*(packet a, packet b) { return Eigen::internal::pmul(a.value_, b.value_); }
  friend packet operator/(packet a, packet b) { return Eigen::internal::pdiv(a.value_, b.value_); }
  friend packet operator-(packet a) { return Eigen::internal::pnegate(a.value_); }
  friend packet& operator+=(packet& a, packet b) { return a = a + b; }
  friend packet& operator-=(packet& a, packet b) { return a = a - b; }
  friend packet& operator*=(packet& a, packet b) { return a = a * b; }

  friend packet sqrt(packet x) { return detail::packet_sqrt(x.value_); }
  // NaN where one of the two is.
  friend packet max(packet a, packet b) {
    return Eigen::internal::pmax<Eigen::PropagateNaN>(a.value_, b.value_);
  }
  friend packet exp(packet x) {
    if constexpr (Eigen::internal::packet_traits<T>::HasExp) {
      return Eigen::internal::pexp(x.value_);
    } else {
      return each_lane(x, [](T lane) { return math::exp(lane); });
    }
  }
  friend packet erf(packet x) {
    if constexpr (std::is_same_v<T, float>) {
      return math::erf_within(clamp(x, math::erf_edge));
    } else {
      return each_lane(x, [](T lane) { return math::erf(lane); });
    }
  }

 private:
  packet(native value) requires(!std::is_same_v<native, T>) : value_(value) {}

  static packet clamp(packet x, T edge) {
    using Eigen::internal::pmax;
    using Eigen::internal::pmin;
    return pmin<Eigen::PropagateNaN>(pmax<Eigen::PropagateNaN>(x.value_, packet(-edge).value_),
                                     packet(edge).value_);
  }
  template <class F>
  static packet each_lane(packet x, F f) {
    T lanes[size];
    x.store(lanes);
    std::transform(lanes, lanes + size, lanes, f);
    return load(lanes);
  }

  native value_;
};

// Whether an elementwise kernel takes packets.
template <class F>
concept packet_kernel = requires {
  requires F::any_value;
};

namespace detail {

// Whether f takes its operand number K by value or const reference: only then may it be a temporary.
template <class F, class V, std::size_t K, std::size_t... I>
constexpr bool reads_only(std::index_sequence<I...>) {
  return std::is_invocable_v<const F&, std::conditional_t<I == K, V&&, V&>...>;
}

// f on the packets at these addresses; those that it may change are written back.
template <class T, class F, std::size_t... I, class... Ps>
void on_packets(const F& f, std::index_sequence<I...> all, Ps*... at) {
  const auto store = [](auto read_only, const packet<T>& value, auto* to) {
    if constexpr (!read_only) {
      value.store(to);
    }
  };
  [&](auto... values) {
    f(values...);
    (store(std::bool_constant<reads_only<F, packet<T>, I>(all)>(), values, at), ...);
  }(packet<T>::load(at)...);
}

// f on `count` entries, fewer than a packet holds, through copies.
template <class T, class F, std::size_t... I, class... Ps>
void on_partial_packets(const F& f, index_t count, std::index_sequence<I...> all, Ps*... at) {
  T copies[sizeof...(Ps)][std::size_t(packet<T>::size)] = {};
  (std::copy_n(at, count, copies[I]), ...);
  on_packets<T>(f, all, copies[I]...);
  const auto copy_back = [&](const T* from, auto* to) {
    if constexpr (!std::is_const_v<std::remove_pointer_t<decltype(to)>>) {
      std::copy_n(from, count, to);
    }
  };
  (copy_back(copies[I], at), ...);
}

}  // namespace detail

// f on every entry of columns of that length. An entry's result does not depend on where it stands.
template <class T, packet_kernel F, class... Ps>
void for_each_packet(F f, index_t length, Ps*... columns) {  // f by value: stores cannot alias it
  constexpr std::index_sequence_for<Ps...> all;
  const index_t whole = length - length % packet<T>::size;
  for (index_t i = 0; i < whole; i += packet<T>::size) {
    detail::on_packets<T>(f, all, columns + i...);
  }
  if (whole < length) {
    detail::on_partial_packets<T>(f, length - whole, all, columns + whole...);
  }
}

}  // namespace preheat
