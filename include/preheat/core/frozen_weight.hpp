// The frozen W of a layer, which is a matrix of the backend or stays stored as its file has it
// (stored_matrix.hpp), and how an adapter or an init sees it.
//
//   frozen_weight   the owner, base_layer::W. Whoever treats it as a matrix gets the dense one; if
//                   it is stored, a refusal in words: a stored W is not written to.
//   weight_view     what frozen_linear::W and target_layer::W are. As the first factor of be.gemm it
//                   is unpacked panel by panel; wherever a view is expected it becomes a dense view,
//                   of W itself or of a copy that is unpacked at that moment.
//
// On a backend that unpacks nothing the two are mat<Be> and const_view_of<Be>.
//
// A product with a stored W, m×n: panels of p rows, p·n numbers at a time and never all of them,
//
//   Y = W·X     Y_p = W_p·X for the rows p of every panel
//   dX = Wᵀ·dY  dX = Σ_p W_pᵀ·dY_p
//
// by the backend's own product, so Y has the rounding of the dense product of a panel and dX also
// that of the sum over the panels. Cost over the dense product: m·n entries unpacked, and X packed by
// the BLAS once a panel. The panel is kept in a weight_room.
#pragma once
#include <algorithm>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "backend.hpp"
#include "shapes.hpp"
#include "stored_matrix.hpp"

namespace preheat {

// The buffers in which a stored W is unpacked, kept from product to product.
template <class Be>
struct weight_room {
  mat<Be> panel;  // n×p: rows of W as columns
  mat<Be> dense;  // m×n, if somebody asked for it
};

template <class Be>
class frozen_weight : public mat<Be> {
 public:
  using T = scalar_of<Be>;

  frozen_weight() = default;
  frozen_weight(mat<Be> W) : mat<Be>(std::move(W)) {}
  frozen_weight(stored_matrix W) : stored_(std::move(W)) {}

  bool is_stored() const { return !stored_.empty(); }
  const stored_matrix& stored() const { return stored_; }

  index_t rows() const { return is_stored() ? stored_.rows() : mat<Be>::rows(); }
  index_t cols() const { return is_stored() ? stored_.cols() : mat<Be>::cols(); }
  // Bytes of its numbers.
  std::size_t bytes() const {
    return is_stored() ? stored_.bytes() : std::size_t(rows() * cols()) * sizeof(T);
  }
  // Errors: invalid_argument if W is stored.
  T* data() { return dense().data(); }
  const T* data() const { return dense().data(); }
  index_t ld() const { return dense().ld(); }
  mat<Be>& dense() {
    refuse_stored();
    return *this;
  }
  const mat<Be>& dense() const {
    refuse_stored();
    return *this;
  }

  // Becomes an ordinary matrix, of rows·cols numbers of the backend.
  void make_dense(Be& be);

 private:
  void refuse_stored() const {
    if (is_stored()) {
      throw invalid_argument("a weight that is kept as stored (" + stored_.type_name() + ", " +
                             std::to_string(rows()) + "x" + std::to_string(cols()) +
                             ") is not changed, nor used as a matrix: give it one by "
                             "make_dense(be), or read the model "
                             "with weight_storage::dense; that takes " +
                             std::to_string(std::size_t(rows() * cols()) * sizeof(T)) +
                             " bytes instead of " + std::to_string(stored_.bytes()));
    }
  }

  stored_matrix stored_;
};

// A copy; of a stored W it shares what is stored.
template <class Be, std::same_as<frozen_weight<Be>> W_type>
W_type clone(Be& be, const W_type& W) {
  return W.is_stored() ? frozen_weight<Be>(W.stored())
                       : frozen_weight<Be>(clone(be, const_view_of<Be>(W.dense())));
}

// Rows of a panel: as many as a megabyte or so holds, but enough that the product pays.
inline index_t panel_rows(const stored_matrix& W) {
  constexpr index_t entries = index_t(1) << 19;
  constexpr index_t fewest = 256;
  return std::min(W.rows(), std::max(fewest, entries / std::max<index_t>(W.cols(), 1)));
}

// f(first, panel) for all rows of W, panel by panel: column j of the panel is row first + j.
template <class Be, class F>
void for_each_panel(Be& be, const stored_matrix& W, mat<Be>& room, F f) {
  const index_t most = panel_rows(W);
  for (index_t first = 0; first < W.rows(); first += most) {
    const index_t count = std::min(most, W.rows() - first);
    be.resize(room, W.cols(), count);
    be.unpack_rows(W, first, room);
    f(first, const_view_of<Be>(room));
  }
}

// to = W, m×n.
template <class Be>
void unpack(Be& be, const stored_matrix& W, mat<Be>& panel, view_of<Be> to) {
  for_each_panel(be, W, panel, [&](index_t first, const_view_of<Be> rows) {
    be.copy(transpose::yes, rows, to.row_range(first, rows.cols()));
  });
}

template <class Be>
void frozen_weight<Be>::make_dense(Be& be) {
  if (is_stored()) {
    mat<Be> W = be.zeros(rows(), cols());
    mat<Be> panel;
    unpack(be, stored_, panel, view_of<Be>(W));
    *this = frozen_weight(std::move(W));
  }
}

// c = alpha·op(W)·op(b) + beta·c
template <class Be>
void multiply_stored(Be& be, scalar_of<Be> alpha, transpose t, const stored_matrix& W, transpose tb,
                     const_view_of<Be> b, scalar_of<Be> beta, view_of<Be> c, mat<Be>& room) {
  const bool turned = t == transpose::yes;
  const index_t inner = turned ? W.rows() : W.cols();
  require(c.rows() == (turned ? W.cols() : W.rows()), "gemm: rows of c = rows of op(W)", c.rows(),
          turned ? W.cols() : W.rows());
  require(rows_of(tb, b) == inner, "gemm: rows of op(b) = columns of op(W)", rows_of(tb, b), inner);
  require(c.cols() == cols_of(tb, b), "gemm: columns of c = columns of op(b)", c.cols(),
          cols_of(tb, b));
  for_each_panel(be, W, room, [&](index_t first, const_view_of<Be> rows) {
    const index_t count = rows.cols();
    if (turned) {
      const const_view_of<Be> part =
          tb == transpose::no ? b.row_range(first, count) : b.col_range(first, count);
      be.gemm(alpha, transpose::no, rows, tb, part, first == 0 ? beta : scalar_of<Be>(1), c);
    } else {
      be.gemm(alpha, transpose::yes, rows, tb, b, beta, c.row_range(first, count));
    }
  });
}

// W as a policy sees it. A dense view of a stored W is valid until the next one is asked for of the
// same room, and needs a room that outlives it; a product without one makes its own panel.
template <class Be>
class weight_view {
 public:
  using T = scalar_of<Be>;

  weight_view() = default;
  // A dense matrix or view.
  template <class M>
  requires(!std::same_as<std::remove_cvref_t<M>, weight_view> &&
           !std::same_as<std::remove_cvref_t<M>, frozen_weight<Be>> &&
           std::constructible_from<const_view_of<Be>, M>) weight_view(M&& W)
      : dense_(std::forward<M>(W)) {}
  weight_view(const frozen_weight<Be>& W) {
    if (W.is_stored()) {
      stored_ = &W.stored();
    } else {
      dense_ = W.dense();
    }
  }
  weight_view(Be& be, const frozen_weight<Be>& W, weight_room<Be>& room) : weight_view(W) {
    be_ = &be;
    room_ = &room;
  }

  bool is_stored() const { return stored_ != nullptr; }
  const stored_matrix& stored() const { return *stored_; }
  weight_room<Be>* room() const { return room_; }

  index_t rows() const { return is_stored() ? stored_->rows() : dense_.rows(); }
  index_t cols() const { return is_stored() ? stored_->cols() : dense_.cols(); }
  index_t size() const { return rows() * cols(); }
  bool empty() const { return size() == 0; }

  // All of W; of a stored one a copy, unpacked now. Cost: m·n entries.
  const_view_of<Be> dense() const {
    if (!is_stored()) {
      return dense_;
    }
    if (room_ == nullptr) {
      throw invalid_argument("a dense view of a stored weight (" + stored_->type_name() +
                             ") needs a weight_room: weight_view(be, W, room)");
    }
    be_->resize(room_->dense, rows(), cols());
    unpack(*be_, *stored_, room_->panel, view_of<Be>(room_->dense));
    return room_->dense;
  }

  // What a view has, of the dense one.
  const T* data() const { return dense().data(); }
  index_t ld() const { return is_stored() ? const_view_of<Be>(room_->dense).ld() : dense_.ld(); }
  const_view_of<Be> block(index_t i, index_t j, index_t rows, index_t cols) const {
    return dense().block(i, j, rows, cols);
  }
  const_view_of<Be> row_range(index_t i, index_t count) const { return block(i, 0, count, cols()); }
  const_view_of<Be> col_range(index_t j, index_t count) const { return block(0, j, rows(), count); }

 private:
  const_view_of<Be> dense_{};
  const stored_matrix* stored_ = nullptr;
  Be* be_ = nullptr;
  weight_room<Be>* room_ = nullptr;
};

namespace detail {
template <class Be>
struct weight_types {
  using owner = mat<Be>;
  using seen = const_view_of<Be>;
  struct room {};
};
template <class Be>
requires stored_matrix_backend<Be>
struct weight_types<Be> {
  using owner = frozen_weight<Be>;
  using seen = weight_view<Be>;
  using room = weight_room<Be>;
};
}  // namespace detail

template <class Be>
using weight_of = typename detail::weight_types<Be>::owner;
template <class Be>
using weight_view_of = typename detail::weight_types<Be>::seen;
template <class Be>
using weight_room_of = typename detail::weight_types<Be>::room;

// The view of a layer's weight with the room in which a stored one is unpacked.
template <class Be>
weight_view_of<Be> view_in(Be& be, const weight_of<Be>& W, weight_room_of<Be>& room) {
  if constexpr (stored_matrix_backend<Be>) {
    return {be, W, room};
  } else {
    return W;
  }
}

template <class Be>
bool is_stored(const weight_of<Be>& W) {
  if constexpr (stored_matrix_backend<Be>) {
    return W.is_stored();
  } else {
    return false;
  }
}

// f(part) for parts that together have every entry of W once: W itself, or the panels of a stored one,
// transposed.
template <class Be, class F>
void for_each_part(Be& be, const weight_of<Be>& W, F f) {
  if constexpr (stored_matrix_backend<Be>) {
    if (W.is_stored()) {
      mat<Be> room;
      for_each_panel(be, W.stored(), room, [&](index_t, const_view_of<Be> panel) { f(panel); });
      return;
    }
  }
  f(const_view_of<Be>(W));
}

}  // namespace preheat
