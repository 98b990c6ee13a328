// The factors of one module, read from the disk, and the mathematics on them.
//
// A file holds A (r×in) and B (out×r) row-major, which is Aᵀ (in×r) and Bᵀ (r×out) column-major: they
// are read and written as they lie, without a transposition, and the singular triplets of B·A are those
// of its transpose Aᵀ·Bᵀ with U and V exchanged.
//
// Everything is compiled once, for float and double, in factors.cpp.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <preheat/core/random.hpp>
#include <preheat/cpu/matrix.hpp>
#include <preheat/io/peft_adapter.hpp>

namespace adapters {

using preheat::index_t;
using preheat::view;
namespace io = preheat::io;

template <class T>
using matrix = preheat::cpu_matrix<T>;

template <class T>
struct stored_factors {
  matrix<T> At;  // in×r
  matrix<T> Bt;  // r×out
};

// One adapter's part in a module of the result: on_B·on_A·B·A.
struct term {
  const io::peft_adapter* adapter = nullptr;
  const io::peft_layer* layer = nullptr;
  double on_A = 1;
  double on_B = 1;
};

// A tensor's rows as columns, finite. The pages of the file are given back. Errors: invalid_argument
// naming the file and the tensor.
template <class T>
matrix<T> read_finite(const io::tensor_files& files, const std::string& name, index_t rows,
                      index_t cols);
template <class T>
void require_finite(const io::tensor_files& files, const std::string& name, view<const T> values);

// From now on each of the library's products runs on the thread that asks for it.
void use_one_blas_thread();

template <class T>
matrix<T> zeros(index_t rows, index_t cols);
template <class T>
matrix<T> transposed(view<const T> M);
template <class T>
void multiply(double factor, view<T> M);
// M ← diag(d)·M, and M·diag(d).
template <class T>
void scale_rows(view<const T> d, view<T> M);
template <class T>
void scale_columns(view<const T> d, view<T> M);
// x += s·y
template <class T>
void add(double s, view<const T> y, view<T> x);
// C += s·op(A)·op(B)
template <class T>
void add_product(double s, preheat::op a, view<const T> A, preheat::op b, view<const T> B,
                 view<T> C);
// ‖M‖, in the Frobenius norm.
template <class T>
double norm(view<const T> M);
// ‖AᵀB‖² of matrices with as many rows.
template <class T>
double squared_product(view<const T> A, view<const T> B);

template <class T>
stored_factors<T> read_term(const term& t);
// [A₁; A₂; …] and [B₁, B₂, …]: the product is the sum of the products.
template <class T>
stored_factors<T> stacked(const std::vector<term>& terms);
// A₁ + A₂ + … and B₁ + B₂ + …, of one rank.
template <class T>
stored_factors<T> summed(const std::vector<term>& terms);

template <class T>
struct singular_triplets {
  matrix<T> U;  // out×k
  matrix<T> S;  // k×1
  matrix<T> V;  // in×k; the largest entry of each column is positive
  std::vector<double> sigma() const { return {S.data(), S.data() + S.rows()}; }
};
// The first k of B·A. Zero singular values get random orthonormal vectors.
template <class T>
singular_triplets<T> triplets(const stored_factors<T>& f, index_t k, const preheat::generator& gen);

// ‖B·A‖², without the product: Σ_ij (AAᵀ)_ij·(BᵀB)_ij, or from the spectrum where that would cancel.
template <class T>
double squared_norm(const stored_factors<T>& f);

// All singular values of B·A that can be other than zero, decreasing.
template <class T>
std::vector<double> spectrum(const stored_factors<T>& f) {
  const index_t most = std::min({f.At.cols(), f.At.rows(), f.Bt.cols()});
  return triplets(f, most, preheat::generator(0)).sigma();
}

// The part of ‖B·A‖² in these singular values; 1 for a product that is zero.
inline double retained_energy(const std::vector<double>& sigma, double squared_norm) {
  double kept = 0;
  for (const auto s : sigma) {
    kept += double(s) * double(s);
  }
  return squared_norm > 0 ? std::min(1.0, kept / squared_norm) : 1.0;
}

// How many singular values to keep: as many as it takes for this part of the energy, or those of at
// least σ₁/ratio; at least 1, at most `most`. 0 stands for a criterion that is not wanted.
inline index_t choose_rank(const std::vector<double>& sigma, double energy, double ratio,
                           index_t most) {
  double total = 0;
  for (const double s : sigma) {
    total += s * s;
  }
  index_t rank = 0;
  double kept = 0;
  for (const double s : sigma) {
    const bool enough = energy > 0 ? kept >= energy * total : s * ratio < sigma.front();
    if (enough || s == 0) {
      break;
    }
    kept += s * s;
    ++rank;
  }
  return std::clamp<index_t>(rank, 1, most);
}

}  // namespace adapters
