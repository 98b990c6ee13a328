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
// Where activations are of a smaller type than the scalar (rounds_activations) M is of that type too: W must be stored
// in it, and becomes a part, or packed (below); A and B stay in their own type, and refresh() writes rounded copies of
// A and s·B to M before every pass. Their gradients are scalars. If there is room for P below X, and for D below dY,
// the thin parts are columns of the large products, and no pass over Y and dX adds them:
//
//   P = A·X,  Y = [W sB]·[X; P] + b;    D = sBᵀ·dY,  dX = [W; A]ᵀ·[dY; D],  ∂A += D·Xᵀ
//
// If a W of the group is packed, as codes (NF4) or in the blocks of its file (Q8_0 …), M is made anew before each pass,
// in a scratch that all groups of an operator share: every W is unpacked to its place in M, A and s·B are rounded to
// theirs, and the products are the same.
//
// Needs a backend on which a matrix may be a part of another one (joins_matrices). All layers have the same s.
// Cost: the products with W, and four thin ones of 2·R·N·(m or n) operations; of a packed W, m·n entries written a
// pass. Memory: W, A and B once, and R·N numbers a pass; while they are gathered, the W of one group twice. Where W are
// packed: they, and (m + R)·(n + R) numbers of M's type for the largest group, once for all.
//
// Source: layouts of a study of Llama's step on a GPU, `bordered` where there is room, else `stacked` forward and
// `beside` backward, whose products with beta = 1 took 5 % more of a step at 8B.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "../adapter/lora.hpp"
#include "bordered_parts.hpp"

namespace preheat {

template <backend Be>
class bordered_group {
 public:
  using T = scalar_of<Be>;
  // An elementwise pass over so many entries takes as long as a call.
  explicit bordered_group(index_t entries_worth_a_call = index_t(1) << 21)
      : entries_worth_a_call_(entries_worth_a_call) {}

  struct member {
    weight_of<Be>* W;
    mat<Be>* b;                           // empty: none
    adapter::lora::params<Be>* factors;   // null: no adapter
    adapter::lora::params<Be>* gradient;  // likewise
    index_t rank() const { return factors == nullptr ? 0 : factors->A.rows(); }
  };

  std::size_t count() const { return shapes_.size(); }

  // Before each pass: makes parts of M of what is not yet one. With packed W M is `scratch`, which other groups may write
  // after the pass, or if that is null a matrix of its own, and is written here.
  void gather(Be& be, T s, std::span<const member> members,
              const std::shared_ptr<activations<Be>>& scratch = nullptr) {
    const bool fresh = !has_shape_of(members);
    if (fresh) {
      make_room(be, members, scratch);
    }
    index_t row = 0;
    index_t rank = 0;
    for (const member& one : members) {
      const index_t rows = one.W->rows();
      if (!unpacks_) {
        take_weight(be, row, *one.W);
      }
      if (one.b->rows() > 0) {
        take(be, bias_, row, 0, *one.b);
      }
      if (one.rank() > 0) {
        if constexpr (!rounds_activations<Be>) {
          take(be, M_, m_ + rank, 0, one.factors->A);
          take(be, M_, row, n_ + rank, one.factors->B);
        }
        take(be, gradient_A_, rank, 0, one.gradient->A);
        take(be, gradient_B_, row, rank, one.gradient->B);
      }
      row += rows;
      rank += one.rank();
    }
    if (unpacks_) {
      unpack(be, s, members);
    } else if (fresh) {
      write_factors(be, s, members);
    }
  }

  // A pass over all layers follows: A and s·B as they are now, rounded, to their places in M, by one kernel
  // (backend::collect); nothing where they are parts of it, or M is made anew.
  void refresh(Be& be, T s, std::span<const member> members) {
    if (!unpacks_ && has_shape_of(members)) {  // else gather makes room for them
      write_factors(be, s, members);
    }
  }

  // Y becomes [Y; P], (m + R)×N. Returns the view of Y. With R rows of room below X, and where a pass over Y takes longer
  // than a call, B·P is a part of the large product.
  activation_view<Be> forward(Be& be, T s, const_activation_view<Be> X, index_t room,
                              activations<Be>& Y) const {
    be.resize(Y, m_ + R_, X.cols());
    const activation_view<Be> y = view(Y).row_range(0, m_);
    const activation_view<Be> P = view(Y).row_range(m_, R_);
    if (rounds_activations<Be> && room >= R_ && m_ * X.cols() >= entries_worth_a_call_) {
      const activation_view<Be> whole = extended(X);
      const activation_view<Be> below = whole.row_range(n_, R_);
      be.gemm(1, transpose::no, A(), transpose::no, X, 0, below);
      be.copy(transpose::no, below, P);  // X may be written again before backward
      be.gemm(1, transpose::no, all().row_range(0, m_), transpose::no, whole, 0, y);
    } else {
      be.gemm(1, transpose::no, all().col_range(0, n_), transpose::no, X, 0, Y);
      be.gemm(of_B(s), transpose::no, B(), transpose::no, P, 1, y);
    }
    if (bias_ != nullptr) {
      be.add_to_cols(*bias_, y);
    }
    return y;
  }

  // Y is what forward left. dX becomes the gradient of X, with R rows more unless dY has the room for D, or D alone;
  // returns the view of the gradient, empty unless wanted. X is not read before make(dX) has been called, which may write
  // it, and use or overwrite dX.
  template <class Make>
  activation_view<Be> backward(Be& be, T s, const_activation_view<Be> X,
                               const_activation_view<Be> dY, index_t room, const activations<Be>& Y,
                               activations<Be>& dX, bool wanted, Make&& make) {
    be.gemm(s, transpose::no, dY, transpose::yes, const_activation_view<Be>(Y).row_range(m_, R_), 1,
            *gradient_B_);
    activation_view<Be> dx;
    const_activation_view<Be> D;
    if (rounds_activations<Be> && wanted && room >= R_) {
      const activation_view<Be> whole = extended(dY);
      be.gemm(1, transpose::yes, B(), transpose::no, dY, 0, whole.row_range(m_, R_));
      D = whole.row_range(m_, R_);
      be.resize(dX, n_, dY.cols());
      dx = dX;
      be.gemm(1, transpose::yes, all().col_range(0, n_), transpose::no, whole, 0, dx);
    } else {
      const index_t above = wanted ? n_ : 0;
      be.resize(dX, above + R_, dY.cols());
      be.gemm(1, transpose::yes, wanted ? all().row_range(0, m_) : B(), transpose::no, dY, 0, dX);
      D = view(dX).row_range(above, R_);
      if (wanted) {
        dx = view(dX).row_range(0, n_);
        be.gemm(of_B(s), transpose::yes, A(), transpose::no, D, 1, dx);
      }
    }
    make(dx);
    be.gemm(of_B(s), transpose::no, D, transpose::yes, X, 1, *gradient_A_);
    return dx;
  }

 private:
  void write_factors([[maybe_unused]] Be& be, [[maybe_unused]] T s,
                     [[maybe_unused]] std::span<const member> members) {
    if constexpr (rounds_activations<Be>) {
      index_t row = 0;
      index_t rank = 0;
      for (const member& one : members) {
        if (one.rank() > 0) {
          const index_t r = one.rank();
          be.apply(scaled_copy<T>{1}, view(*M_).block(m_ + rank, 0, r, n_),
                   const_view_of<Be>(one.factors->A));
          be.apply(scaled_copy<T>{s}, view(*M_).block(row, n_ + rank, one.W->rows(), r),
                   const_view_of<Be>(one.factors->B));
          rank += r;
        }
        row += one.W->rows();
      }
    }
  }
  // All of M but the corner that no product reads.
  void unpack([[maybe_unused]] Be& be, [[maybe_unused]] T s,
              [[maybe_unused]] std::span<const member> members) {
    if constexpr (rounds_activations<Be>) {
      be.resize(*M_, m_ + R_, n_ + R_);
      index_t row = 0;
      for (const member& one : members) {
        be.unpack(one.W->stored(), view(*M_).block(row, 0, one.W->rows(), n_));
        row += one.W->rows();
      }
      be.fill(0, view(*M_).block(0, n_, m_, R_));
      write_factors(be, s, members);
    }
  }
  const_activation_view<Be> all() const { return *M_; }
  const_activation_view<Be> B() const { return all().block(0, n_, m_, R_); }
  const_activation_view<Be> A() const { return all().block(m_, 0, R_, n_); }
  // What the B of M lacks of s·B.
  static T of_B(T s) { return rounds_activations<Be> ? T(1) : s; }
  // With the R rows below.
  activation_view<Be> extended(const_activation_view<Be> x) const {
    return {const_cast<activation_of<Be>*>(x.data()), x.rows() + R_, x.cols(), x.ld()};
  }

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
  void make_room(Be& be, std::span<const member> members,
                 const std::shared_ptr<activations<Be>>& scratch) {
    shapes_.clear();
    m_ = R_ = 0;
    unpacks_ = false;
    n_ = members.front().W->cols();
    bool biased = false;
    for (const member& one : members) {
      shapes_.push_back(shape_of(one));
      m_ += one.W->rows();
      R_ += one.rank();
      biased = biased || one.b->rows() > 0;
      unpacks_ = unpacks_ || is_unpacked<Be>(*one.W);
    }
    const auto fresh = [&](index_t rows, index_t cols) {
      return std::make_shared<mat<Be>>(be.zeros(rows, cols));
    };
    M_ = unpacks_ && scratch != nullptr ? scratch : std::make_shared<activations<Be>>();
    if (!unpacks_) {
      be.resize(*M_, m_ + R_, n_ + R_);
      be.fill(0, *M_);
    }
    bias_ = biased ? fresh(m_, 1) : nullptr;
    gradient_A_ = fresh(R_, n_);
    gradient_B_ = fresh(m_, R_);
  }
  void take_weight(Be& be, index_t row, weight_of<Be>& W) {
    if constexpr (rounds_activations<Be>) {
      const activation_view<Be> place = view(*M_).block(row, 0, W.rows(), W.cols());
      const const_activation_view<Be> entries = W.stored().entries();
      if (entries.data() != place.data()) {
        be.copy(transpose::no, entries, place);
        W = weight_of<Be>(
            typename Be::stored_weight(activations<Be>(M_, row, 0, W.rows(), W.cols())));
      }
    } else {
      take(be, M_, row, 0, W);
    }
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
    bool biased, unpacked;
    bool operator==(const shape&) const = default;
  };
  static shape shape_of(const member& one) {
    return {one.W->rows(), one.W->cols(), one.rank(), one.b->rows() > 0, is_unpacked<Be>(*one.W)};
  }

  index_t entries_worth_a_call_;
  std::vector<shape> shapes_;
  index_t m_ = 0, n_ = 0, R_ = 0;
  bool unpacks_ = false;  // some W is packed
  std::shared_ptr<activations<Be>> M_;
  std::shared_ptr<mat<Be>> bias_;  // m×1, null if no layer has one
  std::shared_ptr<mat<Be>> gradient_A_, gradient_B_;
};

}  // namespace preheat
