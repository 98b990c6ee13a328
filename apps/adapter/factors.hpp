// The factors of one module in memory, and the library's functions on them, compiled once for float and
// double in factors.cpp.
//
// A file holds A (r×in) and B (out×r) row-major, which is Aᵀ (in×r) and Bᵀ (r×out) column-major. They
// are read and written as they lie, without a transposition: for the library, which computes with B·A,
// these are the factors Aᵀ·Bᵀ of the transpose (B·A)ᵀ, so left and right change places.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <preheat/core/random.hpp>
#include <preheat/cpu/matrix.hpp>
#include <preheat/linalg/spectrum.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/peft/terms.hpp>

namespace apps::adapter {

using preheat::index_t;
using preheat::view;
namespace files = preheat::files;
namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;

template <class T>
using matrix = preheat::cpu_matrix<T>;

template <class T>
struct stored_factors {
  matrix<T> At;  // in×r
  matrix<T> Bt;  // r×out
};

// The same in memory that the caller owns.
template <class T>
struct stored_views {
  view<const T> At;
  view<const T> Bt;
};

// A tensor's rows as columns, finite. The pages of the file are given back. Errors: invalid_argument
// naming the file and the tensor.
template <class T>
matrix<T> read_finite(const safetensors::tensor_files& files, const std::string& name, index_t rows,
                      index_t cols);
template <class T>
void require_finite(const safetensors::tensor_files& files, const std::string& name,
                    view<const T> values);

// From now on each of the library's products runs on the thread that calls it.
void use_one_blas_thread();

template <class T>
matrix<T> zeros(index_t rows, index_t cols);
template <class T>
matrix<T> transposed(view<const T> M);
template <class T>
void multiply(double factor, view<T> M);
// M ← diag(d)·M.
template <class T>
void scale_rows(view<const T> d, view<T> M);
// x += s·y
template <class T>
void add(double s, view<const T> y, view<T> x);
// C += s·op(A)·op(B)
template <class T>
void add_product(double s, preheat::transpose a, view<const T> A, preheat::transpose b,
                 view<const T> B, view<T> C);
// ‖M‖, in the Frobenius norm.
template <class T>
double norm(view<const T> M);
// How far the spans of the first k columns of two matrices agree, 0 to 1.
template <class T>
double overlap(view<const T> a, view<const T> b, index_t k);

// The factors of a term, times its weights.
template <class T>
stored_factors<T> read_term(const peft::term& t);
// convert/concatenate.hpp: the exact sum of the terms, and the sums of their factors.
template <class T>
stored_factors<T> concatenated(const std::vector<peft::term>& terms);
template <class T>
stored_factors<T> added(const std::vector<peft::term>& terms);

template <class T>
struct singular_triplets {
  matrix<T> U;  // out×k
  matrix<T> S;  // k×1
  matrix<T> V;  // in×k; the largest entry of each column is positive
  std::vector<double> sigma() const { return {S.data(), S.data() + S.rows()}; }
};
// The first k of B·A. Zero singular values get random orthonormal vectors.
template <class T>
singular_triplets<T> triplets(const stored_views<T>& f, index_t k, const preheat::generator& gen);
template <class T>
singular_triplets<T> triplets(const stored_factors<T>& f, index_t k,
                              const preheat::generator& gen) {
  return triplets(stored_views<T>{f.At, f.Bt}, k, gen);
}
// B = U·S and A = Vᵀ.
template <class T>
stored_factors<T> with_values_on_B(singular_triplets<T> d);

// B = U·√S and A = √S·Vᵀ: no entry is smaller than it has to be, which types of two bytes need.
template <class T>
stored_factors<T> with_values_on_both(singular_triplets<T> d);

// ‖B·A‖², and all singular values of B·A that can be other than zero.
template <class T>
double squared_norm(const stored_views<T>& f);
template <class T>
double squared_norm(const stored_factors<T>& f) {
  return squared_norm(stored_views<T>{f.At, f.Bt});
}
template <class T>
std::vector<double> spectrum(const stored_views<T>& f);
template <class T>
std::vector<double> spectrum(const stored_factors<T>& f) {
  return spectrum(stored_views<T>{f.At, f.Bt});
}

// convert/recompress.hpp: the best factors of a lower rank, and the part of ‖B·A‖² that they keep.
template <class T>
struct recompressed_factors {
  stored_factors<T> f;
  double energy = 1;
};
template <class T>
recompressed_factors<T> recompressed(stored_factors<T> f, index_t rank);

// init/hrp_start.hpp: directions of B·A on the left (in B) or on the right (in A), the other factor 0.
template <class T>
struct low_rank_start {
  stored_factors<T> f;
  std::vector<double> sigma;
};
template <class T>
low_rank_start<T> hrp_start(const stored_views<T>& f, index_t rank, bool left, double row_norm,
                            const preheat::generator& gen);
template <class T>
low_rank_start<T> hrp_start(const stored_factors<T>& f, index_t rank, bool left, double row_norm,
                            const preheat::generator& gen) {
  return hrp_start(stored_views<T>{f.At, f.Bt}, rank, left, row_norm, gen);
}

}  // namespace apps::adapter
