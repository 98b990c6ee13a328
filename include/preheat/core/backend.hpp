// The contract of a backend: where matrices are stored and which operations it computes on them.
//
// A model of `backend` may keep its data on a device: nothing outside it dereferences data(), and
// nothing is promised about expressions, iterators, copies of matrices or host access other than
// upload and download. What a policy may rely on is written here and no more; the archetype in
// tests/support has exactly these members.
//
// A function that is written over the concept runs on every backend:
//
//   #include <preheat/cpu/backend.hpp>
//
//   template <preheat::backend Be>
//   double squared_length(Be& be, preheat::const_view_of<Be> W,  // ‖W·x‖²
//                         preheat::const_view_of<Be> x) {
//     preheat::mat<Be> y = be.zeros(W.rows(), 1);
//     be.gemm(1, preheat::transpose::no, W, preheat::transpose::no, x, 0, y);
//     return double(be.dot(y, y));
//   }
//
//   int main() {
//     preheat::cpu<double> be;
//     preheat::cpu_matrix<double> W = be.zeros(2, 2);
//     preheat::cpu_matrix<double> x = be.zeros(2, 1);
//     be.fill(1, W);
//     be.fill(3, x);
//     return squared_length(be, W, x) == 72 ? 0 : 1;
//   }
#pragma once
#include <concepts>
#include <span>
#include <string>
#include <vector>

#include "types.hpp"

namespace preheat {

// An elementwise kernel is a named, trivially copyable functor with a constexpr call operator.
template <class T>
struct kernel_archetype {
  constexpr void operator()(T& x, const T& y) const { x += y; }
};
template <class T>
struct indexed_kernel_archetype {
  constexpr void operator()(index_t, T& x, const T& y) const { x += y; }
};

// Where matrices are stored and which operations are computed on them.
template <class Be>
concept backend = requires {
  typename Be::scalar;
  typename Be::matrix;
}
&&std::floating_point<typename Be::scalar>&& std::movable<typename Be::matrix>&&
    std::default_initializable<typename Be::matrix>&& requires(
        Be& be, typename Be::matrix& M, const typename Be::matrix& constM, index_t k, transpose t,
        typename Be::scalar s, view<const typename Be::scalar> a, view<typename Be::scalar> x,
        std::span<const typename Be::scalar> host, kernel_archetype<typename Be::scalar> f,
        indexed_kernel_archetype<typename Be::scalar> fi) {
  // An owner of memory: data, shape, leading dimension.
  { M.data() } -> std::same_as<typename Be::scalar*>;
  { constM.data() } -> std::same_as<const typename Be::scalar*>;
  { constM.rows() } -> std::same_as<index_t>;
  { constM.cols() } -> std::same_as<index_t>;
  { constM.ld() } -> std::same_as<index_t>;
  { be.zeros(k, k) } -> std::same_as<typename Be::matrix>;
  // M gets a new shape, contents undefined; no allocation when it has had a shape at least as large
  // in both dimensions.
  { be.resize(M, k, k) } -> std::same_as<void>;
  // Host and back; the host side is column-major without gaps.
  { be.upload(host, x) } -> std::same_as<void>;
  { be.download(a) } -> std::same_as<std::vector<typename Be::scalar>>;
  // Memory.
  { be.fill(s, x) } -> std::same_as<void>;     // x_ij = s
  { be.copy(t, a, x) } -> std::same_as<void>;  // x = op(a)
  // Elementwise: f(x_ij, a_ij, …), and f(i + j·rows, x_ij, a_ij, …), for any number of operands.
  { be.apply(f, x, a) } -> std::same_as<void>;
  { be.apply_indexed(fi, x, a) } -> std::same_as<void>;
  // Vectors against matrices; a vector is k×1.
  { be.scale_rows(a, x) } -> std::same_as<void>;          // x = diag(a)·x
  { be.scale_cols(a, x) } -> std::same_as<void>;          // x = x·diag(a)
  { be.add_to_cols(a, x) } -> std::same_as<void>;         // x_ij += a_i
  { be.add_row_sums(s, a, x) } -> std::same_as<void>;     // x_i += s·Σ_j a_ij
  { be.add_row_dots(s, a, a, x) } -> std::same_as<void>;  // x_i += s·Σ_j a_ij·b_ij
  // Reductions to the host.
  { be.dot(a, a) } -> std::same_as<typename Be::scalar>;   // Σ_ij a_ij·b_ij
  { be.max_abs(a) } -> std::same_as<typename Be::scalar>;  // 0 if empty; NaN if any entry is NaN
  // Products. gemm: x = s·op(a)·op(b) + t·x, where t = 0 ignores x; gram: x = a·aᵀ (transpose::no)
  // or aᵀ·a (transpose::yes), both triangles.
  { be.gemm(s, t, a, t, a, s, x) } -> std::same_as<void>;
  { be.gram(t, a, x) } -> std::same_as<void>;
  // Factorizations. cholesky: x = Rᵀ·R becomes R, upper, zeros below; false if not positive
  // definite or not finite, and x is then undefined. solve_upper: x = op(R)⁻¹·x.
  { be.cholesky(x) } -> std::same_as<bool>;
  { be.solve_upper(t, a, x) } -> std::same_as<void>;
  { be.qr(a) } -> std::same_as<qr_result<typename Be::matrix>>;      // thin; any signs
  { be.svd(a) } -> std::same_as<svd_result<typename Be::matrix>>;    // thin; any signs
  { be.eigh(a) } -> std::same_as<eigh_result<typename Be::matrix>>;  // symmetric
  { be.describe() } -> std::same_as<std::string>;  // e.g. "cpu<float>, OpenBLAS 0.3.21"
};

// A backend that can also compute a Gram matrix in a backend of twice its precision, because
// squares of float numbers, and sums of them, lose nothing in double. That backend is
// default-constructed, or the result of be.in_higher_precision() where there is such a function.
template <class Be>
concept mixed_precision_backend = backend<Be> && backend<typename Be::higher_precision> &&
    requires(Be& be, transpose t, view<const typename Be::scalar> a,
             view<typename Be::higher_precision::scalar> x) {
  { be.gram(t, a, x) } -> std::same_as<void>;  // as gram, in the higher precision
};

// A backend that can find only the k largest eigenvalues of a symmetric matrix (or some more), in
// increasing order, and their vectors.
template <class Be>
concept partial_eigen_backend = backend<Be> &&
    requires(Be& be, view<const typename Be::scalar> a, index_t k) {
  { be.eigh_largest(a, k) } -> std::same_as<eigh_result<typename Be::matrix>>;
};

// A backend on a device that spares the host a wait where only a verdict or signs are asked for.
template <class Be>
concept unwaited_backend = backend<Be> &&
    requires(Be& be, view<typename Be::scalar> x, view<const typename Be::scalar> a) {
  // As cholesky; where there is no factor, x becomes NaN.
  { be.cholesky_or_nan(x) } -> std::same_as<void>;
  // x_j = −1 if the entry of largest magnitude (the first of equals) in column j of a is negative, else 1.
  { be.signs_of_largest(a, x) } -> std::same_as<void>;
};

// Runs f(), which makes many elementwise passes over small matrices: be.collect(f) where the backend has it, which
// may put passes of one kernel that do not depend on each other together.
template <backend Be, class F>
void in_few_launches(Be& be, F f) {
  if constexpr (requires { be.collect(f); }) {
    be.collect(f);
  } else {
    f();
  }
}

// Runs f(), which asks for the same work again and again: be.repeat(f) where the backend has it, which may keep that
// work as one piece. f() must give the same when it is interrupted and runs again from its beginning.
template <backend Be, class F>
void as_before(Be& be, F f) {
  if constexpr (requires { be.repeat(f); }) {
    be.repeat(f);
  } else {
    f();
  }
}

// Waits until the backend has computed all that it was asked for: be.wait() where the backend has it; another one
// computes at once.
template <backend Be>
void wait_for([[maybe_unused]] Be& be) {
  if constexpr (requires { be.wait(); }) {
    be.wait();
  }
}

template <class Be>
using mat = typename Be::matrix;
template <class Be>
using scalar_of = typename Be::scalar;
template <class Be>
using const_view_of = view<const typename Be::scalar>;
template <class Be>
using view_of = view<typename Be::scalar>;

// A backend on which a network's activations and their gradients have a type of their own, smaller than the
// scalar (cuda/mixed.hpp). Networks that know of it (nn/decoder.hpp) hold them in it; on another backend, and for
// policies always, activations are scalars.
template <class Be>
concept rounds_activations = backend<Be> && requires {
  typename Be::activation;
  typename Be::activation_matrix;
};
namespace detail {
template <class Be>
struct activation_types {
  using number = typename Be::scalar;
  using owner = typename Be::matrix;
};
template <rounds_activations Be>
struct activation_types<Be> {
  using number = typename Be::activation;
  using owner = typename Be::activation_matrix;
};
}  // namespace detail
template <class Be>
using activation_of = typename detail::activation_types<Be>::number;
template <class Be>
using activations = typename detail::activation_types<Be>::owner;
// The owner of matrices of scalars or of activations.
template <class Be, class Number>
using matrix_of = std::conditional_t<std::same_as<Number, scalar_of<Be>>, mat<Be>, activations<Be>>;
template <class Be>
using activation_view = view<activation_of<Be>>;
template <class Be>
using const_activation_view = view<const activation_of<Be>>;

// x as numbers of type To, in `place`; x itself if it has them.
template <class To, backend Be, class From>
view<const To> converted([[maybe_unused]] Be& be, view<const From> x,
                         [[maybe_unused]] matrix_of<Be, To>& place) {
  if constexpr (std::same_as<To, From>) {
    return x;
  } else {
    be.resize(place, x.rows(), x.cols());
    be.copy(transpose::no, x, place);
    return place;
  }
}

template <backend Be>
mat<Be> clone(Be& be, const_view_of<Be> a) {
  mat<Be> M = be.zeros(a.rows(), a.cols());
  be.copy(transpose::no, a, M);
  return M;
}

}  // namespace preheat
