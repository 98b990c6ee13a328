// Linear layers that read one input, with their LoRA adapters, as one matrix, so that a pass makes as few
// products for q, k and v together as for one of them:
//
//       M = ⎡ W  B ⎤   W: the layers' Wᵢ one below the other, m×n;   A: the Aᵢ likewise, R×n
//           ⎣ A  0 ⎦   B: the Bᵢ along a diagonal, m×R, zero elsewhere;   R = Σ rᵢ
//
//   forward    [Y; P] = [W; A]·X,   Y += s·B·P + b
//   backward   ∂B += s·dY·Pᵀ,   [dX; D] = [W B]ᵀ·dY,   dX += s·Aᵀ·D,   ∂A += s·D·Xᵀ
//
// W, b, A, B and their gradients are not copied: the matrices of the network and of the adapters become parts of M,
// and whoever reads or changes them reads or changes M. Every pass looks whether they still are. A layer without an
// adapter has rank 0. Between the Bᵢ, ∂B has numbers that nobody reads.
//
// Needs a backend on which a matrix may be a part of another one (joins_matrices). All layers have the same s.
// Cost: the products with W, and four thin ones of 2·R·N·(m or n) operations. Memory: W, A and B once, and R·N
// numbers a pass; while they are gathered, the W of one group twice.
//
// Source: the layout `stacked` forward and `beside` backward of a study of Llama's step on a GPU, whose products
// with beta = 1 took 5 % more of a step at 8B than borders of X and dY, which networks would have to leave room for.
#pragma once
#include <concepts>
#include <memory>
#include <span>
#include <vector>

#include "../adapter/lora.hpp"

namespace preheat {

// mat<Be>(whole, i, j, rows, cols) is the part of a matrix from entry (i, j) on.
template <class Be>
concept joins_matrices = backend<Be> &&
    std::constructible_from<mat<Be>, std::shared_ptr<mat<Be>>, index_t, index_t, index_t, index_t>;

template <backend Be>
class bordered_group {
 public:
  using T = scalar_of<Be>;
  struct member {
    mat<Be>* W;
    mat<Be>* b;                           // empty: none
    adapter::lora::params<Be>* factors;   // null: no adapter
    adapter::lora::params<Be>* gradient;  // likewise
    index_t rank() const { return factors == nullptr ? 0 : factors->A.rows(); }
  };

  // Makes parts of M of what is not yet one.
  void gather(Be& be, std::span<const member> members) {
    if (!has_shape_of(members)) {
      make_room(be, members);
    }
    index_t row = 0;
    index_t rank = 0;
    for (const member& one : members) {
      const index_t rows = one.W->rows();
      take(be, M_, row, 0, *one.W);
      if (one.b->rows() > 0) {
        take(be, bias_, row, 0, *one.b);
      }
      if (one.rank() > 0) {
        take(be, M_, m_ + rank, 0, one.factors->A);
        take(be, M_, row, n_ + rank, one.factors->B);
        take(be, gradient_A_, rank, 0, one.gradient->A);
        take(be, gradient_B_, row, rank, one.gradient->B);
      }
      row += rows;
      rank += one.rank();
    }
  }

  // Y becomes [Y; P], (m + R)×N. Returns the view of Y.
  view_of<Be> forward(Be& be, T s, const_view_of<Be> X, mat<Be>& Y) const {
    be.resize(Y, m_ + R_, X.cols());
    const view_of<Be> y = view(Y).row_range(0, m_);
    be.gemm(1, transpose::no, all().col_range(0, n_), transpose::no, X, 0, Y);
    be.gemm(s, transpose::no, B(), transpose::no, const_view_of<Be>(Y).row_range(m_, R_), 1, y);
    if (bias_ != nullptr) {
      be.add_to_cols(*bias_, y);
    }
    return y;
  }

  // Y is what forward left. dX becomes [dX; D], (n + R)×N, or D alone; returns the view of dX, empty unless wanted.
  // X is not read before make(dX) has been called, which may write it, and use or overwrite dX.
  template <class Make>
  view_of<Be> backward(Be& be, T s, const_view_of<Be> X, const_view_of<Be> dY, const mat<Be>& Y,
                       mat<Be>& dX, bool wanted, Make&& make) {
    const const_view_of<Be> P = const_view_of<Be>(Y).row_range(m_, R_);
    be.gemm(s, transpose::no, dY, transpose::yes, P, 1, *gradient_B_);
    const index_t above = wanted ? n_ : 0;
    be.resize(dX, above + R_, dY.cols());
    be.gemm(1, transpose::yes, wanted ? all().row_range(0, m_) : B(), transpose::no, dY, 0, dX);
    const const_view_of<Be> D = const_view_of<Be>(dX).row_range(above, R_);
    view_of<Be> dx;
    if (wanted) {
      dx = view(dX).row_range(0, n_);
      be.gemm(s, transpose::yes, all().block(m_, 0, R_, n_), transpose::no, D, 1, dx);
    }
    make(dx);
    be.gemm(s, transpose::no, D, transpose::yes, X, 1, *gradient_A_);
    return dx;
  }

 private:
  const_view_of<Be> all() const { return *M_; }
  const_view_of<Be> B() const { return all().block(0, n_, m_, R_); }

  bool has_shape_of(std::span<const member> members) const {
    if (M_ == nullptr || members.size() != shapes_.size()) {
      return false;
    }
    for (std::size_t k = 0; k < members.size(); ++k) {
      if (shapes_[k] != shape_of(members[k])) {
        return false;
      }
    }
    return true;
  }
  // The matrices of which the old M consisted keep it alive until they are taken.
  void make_room(Be& be, std::span<const member> members) {
    shapes_.clear();
    m_ = R_ = 0;
    n_ = members.front().W->cols();
    bool biased = false;
    for (const member& one : members) {
      shapes_.push_back(shape_of(one));
      m_ += one.W->rows();
      R_ += one.rank();
      biased = biased || one.b->rows() > 0;
    }
    const auto fresh = [&](index_t rows, index_t cols) {
      return std::make_shared<mat<Be>>(be.zeros(rows, cols));
    };
    M_ = fresh(m_ + R_, n_ + R_);
    bias_ = biased ? fresh(m_, 1) : nullptr;
    gradient_A_ = fresh(R_, n_);
    gradient_B_ = fresh(m_, R_);
  }
  static void take(Be& be, const std::shared_ptr<mat<Be>>& whole, index_t i, index_t j,
                   mat<Be>& x) {
    const view_of<Be> place = view(*whole).block(i, j, x.rows(), x.cols());
    if (x.data() != place.data()) {
      be.copy(transpose::no, x, place);
      x = mat<Be>(whole, i, j, x.rows(), x.cols());
    }
  }

  struct shape {
    index_t rows, cols, rank;
    bool biased;
    bool operator==(const shape&) const = default;
  };
  static shape shape_of(const member& one) {
    return {one.W->rows(), one.W->cols(), one.rank(), one.b->rows() > 0};
  }

  std::vector<shape> shapes_;
  index_t m_ = 0, n_ = 0, R_ = 0;
  std::shared_ptr<mat<Be>> M_;
  std::shared_ptr<mat<Be>> bias_;  // m×1, null if no layer has one
  std::shared_ptr<mat<Be>> gradient_A_, gradient_B_;
};

}  // namespace preheat
