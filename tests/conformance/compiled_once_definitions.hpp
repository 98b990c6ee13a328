// The definitions of compiled_once, for kernels_float.cpp and kernels_double.cpp only.
#pragma once
#include "compiled_once.hpp"

namespace conformance {

template <class Kernels>
template <class T>
void compiled_once<Kernels>::gemm(T alpha, op ta, view<const T> a, op tb, view<const T> b, T beta,
                                  view<T> c) {
  Kernels::template gemm<T>(alpha, ta, a, tb, b, beta, c);
}
template <class Kernels>
template <class T>
void compiled_once<Kernels>::gram(op t, view<const T> a, T beta, view<T> c) {
  Kernels::template gram<T>(t, a, beta, c);
}
template <class Kernels>
template <class T>
bool compiled_once<Kernels>::cholesky(view<T> g) {
  return Kernels::template cholesky<T>(g);
}
template <class Kernels>
template <class T>
void compiled_once<Kernels>::solve_upper(op t, view<const T> r, view<T> x) {
  Kernels::template solve_upper<T>(t, r, x);
}
template <class Kernels>
template <class T>
preheat::qr_result<cpu_matrix<T>> compiled_once<Kernels>::qr(view<const T> a) {
  return Kernels::template qr<T>(a);
}
template <class Kernels>
template <class T>
preheat::svd_result<cpu_matrix<T>> compiled_once<Kernels>::svd(view<const T> a) {
  return Kernels::template svd<T>(a);
}
template <class Kernels>
template <class T>
preheat::eigh_result<cpu_matrix<T>> compiled_once<Kernels>::eigh(view<const T> a) {
  return Kernels::template eigh<T>(a);
}
template <class Kernels>
template <class T>
preheat::eigh_result<cpu_matrix<T>> compiled_once<Kernels>::eigh_largest(view<const T> a,
                                                                         index_t k) {
  return Kernels::template eigh_largest<T>(a, k);
}

// One explicit instantiation of every kernel.
#define PREHEAT_INSTANTIATE_KERNELS(KERNELS, T)                                                \
  template void compiled_once<KERNELS>::gemm<T>(T, op, view<const T>, op, view<const T>, T,    \
                                                view<T>);                                      \
  template void compiled_once<KERNELS>::gram<T>(op, view<const T>, T, view<T>);                \
  template bool compiled_once<KERNELS>::cholesky<T>(view<T>);                                  \
  template void compiled_once<KERNELS>::solve_upper<T>(op, view<const T>, view<T>);            \
  template preheat::qr_result<cpu_matrix<T>> compiled_once<KERNELS>::qr<T>(view<const T>);     \
  template preheat::svd_result<cpu_matrix<T>> compiled_once<KERNELS>::svd<T>(view<const T>);   \
  template preheat::eigh_result<cpu_matrix<T>> compiled_once<KERNELS>::eigh<T>(view<const T>); \
  template preheat::eigh_result<cpu_matrix<T>> compiled_once<KERNELS>::eigh_largest<T>(        \
      view<const T>, index_t)

}  // namespace conformance
