// What a fixture of one adapted linear layer gives, whatever its adapter: the layer, the factors,
// the input and the gradient of the output; and its two comparisons.
#pragma once
#include <preheat/cpu/backend.hpp>
#include <preheat/train/scaling.hpp>

#include "fixtures.hpp"

namespace golden {

// Computed in float, a sum of k terms is off by up to k·6e-8, and in practice by √k·6e-8.
template <class T>
constexpr double layer_rtol() {
  return std::is_same_v<T, double> ? 1e-12 : 5e-6;
}

template <class T>
struct recorded_layer {
  using matrix = preheat::cpu_matrix<T>;

  explicit recorded_layer(const fixture& file)
      : W(file.matrix("W")),
        A(file.matrix("A")),
        B(file.matrix("B")),
        X(file.tokens("X")),
        dY(file.tokens("dY")) {
    const bool has_bias = file.param<bool>("bias");
    CHECK(file.contains("b") == has_bias);
    if (has_bias) {
      b = matrix(file.matrix("b"));
    }
    const index_t rank = file.param<index_t>("r");
    REQUIRE(rank == A.rows());
    const double s = scaling_of(file)(rank, rank);
    CHECK(s == file.param<double>("scaling"));
    scaling = T(s);
  }

  matrix W, b, A, B, X, dY;
  T scaling = 0;
};

// Compares features × tokens, or a weight, with the tensor of that name.
template <class Be, class M>
void check_tokens(Be& be, const fixture& file, const char* which, const M& Y) {
  check_close(file, which, host(be, Y), file.tokens(which), layer_rtol<typename Be::scalar>());
}
template <class Be, class M>
void check_matrix(Be& be, const fixture& file, const char* which, const M& W) {
  check_close(file, which, host(be, W), file.matrix(which), layer_rtol<typename Be::scalar>());
}

}  // namespace golden
