// The archetype's operations, each recorded and handed to the Eigen kernels.
#include "archetype.hpp"

#include <algorithm>
#include <limits>
#include <preheat/cpu/backend.hpp>

namespace conformance {

namespace {
template <class T>
preheat::cpu<T, preheat::eigen_kernels> host;
}  // namespace

template <class T>
std::string archetype<T>::describe() const {
  return "archetype";
}

template <class T>
void archetype<T>::resize(matrix& M, index_t m, index_t n) {
  preheat::require(m >= 0 && n >= 0, "matrix dimensions are not negative", m, n);
  shapes.insert({m, n});
  const index_t needed = (m + gap) * n;
  if (needed > M.capacity_) {
    M.memory_.reset(new T[needed]);
    M.capacity_ = needed;
    ++allocations;
  }
  M.rows_ = m;
  M.cols_ = n;
  M.ld_ = m + gap;
  std::fill(M.memory_.get(), M.memory_.get() + M.capacity_, std::numeric_limits<T>::quiet_NaN());
}
template <class T>
typename archetype<T>::matrix archetype<T>::zeros(index_t m, index_t n) {
  matrix M;
  resize(M, m, n);
  host<T>.fill(0, to_host(view<T>(M)));
  return M;
}
// The result of a factorization, in a matrix of this backend.
template <class T>
template <class M>
typename archetype<T>::matrix archetype<T>::take(const M& result) {
  matrix mine;
  resize(mine, result.rows(), result.cols());
  host<T>.copy(transpose::no, result, to_host(view<T>(mine)));
  return mine;
}

template <class T>
void archetype<T>::upload(std::span<const T> from, view<T> x) {
  ++calls["upload"];
  host<T>.upload(from, to_host(x));
}
template <class T>
std::vector<T> archetype<T>::download(view<const T> a) {
  ++calls["download"];
  return host<T>.download(to_host(a));
}
template <class T>
void archetype<T>::fill(T value, view<T> x) {
  ++calls["fill"];
  host<T>.fill(value, to_host(x));
}
template <class T>
void archetype<T>::copy(transpose t, view<const T> a, view<T> x) {
  ++calls["copy"];
  host<T>.copy(t, to_host(a), to_host(x));
}
template <class T>
void archetype<T>::scale_rows(view<const T> d, view<T> x) {
  ++calls["scale_rows"];
  host<T>.scale_rows(to_host(d), to_host(x));
}
template <class T>
void archetype<T>::scale_cols(view<const T> d, view<T> x) {
  ++calls["scale_cols"];
  host<T>.scale_cols(to_host(d), to_host(x));
}
template <class T>
void archetype<T>::add_to_cols(view<const T> b, view<T> x) {
  ++calls["add_to_cols"];
  host<T>.add_to_cols(to_host(b), to_host(x));
}
template <class T>
void archetype<T>::add_row_sums(T s, view<const T> a, view<T> x) {
  ++calls["add_row_sums"];
  host<T>.add_row_sums(s, to_host(a), to_host(x));
}
template <class T>
void archetype<T>::add_row_dots(T s, view<const T> a, view<const T> b, view<T> x) {
  ++calls["add_row_dots"];
  host<T>.add_row_dots(s, to_host(a), to_host(b), to_host(x));
}
template <class T>
T archetype<T>::dot(view<const T> a, view<const T> b) {
  ++calls["dot"];
  return host<T>.dot(to_host(a), to_host(b));
}
template <class T>
T archetype<T>::max_abs(view<const T> a) {
  ++calls["max_abs"];
  return host<T>.max_abs(to_host(a));
}
template <class T>
void archetype<T>::gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b,
                        T beta, view<T> c) {
  ++calls["gemm"];
  host<T>.gemm(alpha, ta, to_host(a), tb, to_host(b), beta, to_host(c));
}
template <class T>
void archetype<T>::gram(transpose t, view<const T> a, view<T> c) {
  ++calls["gram"];
  host<T>.gram(t, to_host(a), to_host(c));
}
template <class T>
bool archetype<T>::cholesky(view<T> g) {
  ++calls["cholesky"];
  return host<T>.cholesky(to_host(g));
}
template <class T>
void archetype<T>::solve_upper(transpose t, view<const T> r, view<T> x) {
  ++calls["solve_upper"];
  host<T>.solve_upper(t, to_host(r), to_host(x));
}
template <class T>
preheat::qr_result<typename archetype<T>::matrix> archetype<T>::qr(view<const T> a) {
  ++calls["qr"];
  const auto result = host<T>.qr(to_host(a));
  return {take(result.Q), take(result.R)};
}
template <class T>
preheat::svd_result<typename archetype<T>::matrix> archetype<T>::svd(view<const T> a) {
  ++calls["svd"];
  const auto result = host<T>.svd(to_host(a));
  return {take(result.U), take(result.S), take(result.V)};
}
template <class T>
preheat::eigh_result<typename archetype<T>::matrix> archetype<T>::eigh(view<const T> a) {
  ++calls["eigh"];
  const auto result = host<T>.eigh(to_host(a));
  return {take(result.values), take(result.vectors)};
}
template <class T>
T archetype<T>::softmax_cross_entropy(view<const T> z, view<const T> labels, view<T> d) {
  ++calls["softmax_cross_entropy"];
  return host<T>.softmax_cross_entropy(to_host(z), to_host(labels), to_host(d));
}
template <class T>
void archetype<T>::softmax_cols(view<T> x) {
  ++calls["softmax_cols"];
  host<T>.softmax_cols(to_host(x));
}
template <class T>
void archetype<T>::softmax_cols_gradient(view<const T> p, view<T> d) {
  ++calls["softmax_cols_gradient"];
  host<T>.softmax_cols_gradient(to_host(p), to_host(d));
}
template <class T>
void archetype<T>::layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x,
                              view<T> r, view<T> y) {
  ++calls["layer_norm"];
  host<T>.layer_norm(epsilon, to_host(gamma), to_host(beta), to_host(x), to_host(r), to_host(y));
}
template <class T>
void archetype<T>::layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r,
                                       view<T> d) {
  ++calls["layer_norm_gradient"];
  host<T>.layer_norm_gradient(to_host(gamma), to_host(x), to_host(r), to_host(d));
}
template <class T>
void archetype<T>::softmax_cols_causal(index_t shift, index_t window, view<T> x) {
  ++calls["softmax_cols_causal"];
  host<T>.softmax_cols_causal(shift, window, to_host(x));
}
template <class T>
void archetype<T>::rms_norm(T epsilon, view<const T> gamma, view<const T> x, view<T> r, view<T> y) {
  ++calls["rms_norm"];
  host<T>.rms_norm(epsilon, to_host(gamma), to_host(x), to_host(r), to_host(y));
}
template <class T>
void archetype<T>::rms_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r,
                                     view<const T> d, view<T> dx) {
  ++calls["rms_norm_gradient"];
  host<T>.rms_norm_gradient(to_host(gamma), to_host(x), to_host(r), to_host(d), to_host(dx));
}

template class archetype<double>;

}  // namespace conformance
