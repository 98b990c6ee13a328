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
// A backend that keeps weights so has the type `stored_weight`, with rows(), cols(), bytes(), type_name(),
// empty() and a type scratch<Be>; be.unpack(stored, scratch, x), which writes all of it to x; and a gemm
// whose first factor is a weight_view. On a CPU it is stored_matrix; on CUDA a matrix of the second number
// type of cuda<T, Storage>.
#pragma once
#include <algorithm>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "backend.hpp"
#include "stored_product.hpp"

namespace preheat {

// A backend that can keep frozen weights in another type than its scalar.
template <class Be>
concept weight_storing_backend = requires(Be& be, const typename Be::stored_weight& W,
                                          typename Be::stored_weight::template scratch<Be>& scratch,
                                          view<typename Be::scalar> x) {
  { be.unpack(W, scratch, x) } -> std::same_as<void>;
};

// The buffers of the products with a stored W, kept from product to product.
template <class Be>
struct weight_room {
  typename Be::stored_weight::template scratch<Be> scratch;
  mat<Be> dense;  // m×n, once it was asked for
};

template <class Be>
class frozen_weight : public mat<Be> {
 public:
  using T = scalar_of<Be>;
  using stored_type = typename Be::stored_weight;

  frozen_weight() = default;
  frozen_weight(mat<Be> W) : mat<Be>(std::move(W)) {}
  frozen_weight(stored_type W) : stored_(std::move(W)) {}

  bool is_stored() const { return !stored_.empty(); }
  const stored_type& stored() const { return stored_; }

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
      throw_stored();
    }
  }
  [[noreturn]] void throw_stored() const;

  stored_type stored_;
};

template <class Be>
[[gnu::cold, gnu::noinline]] void frozen_weight<Be>::throw_stored() const {
  throw invalid_argument(
      "a weight that is kept as stored (" + stored_.type_name() + ", " +
      detail::shown_number(rows()).text() + "x" + detail::shown_number(cols()).text() +
      ") is not changed, nor used as a matrix: give it one by "
      "make_dense(be), or read the model with weight_storage::dense; that takes " +
      detail::shown_number(std::size_t(rows() * cols()) * sizeof(T)).text() + " bytes instead of " +
      detail::shown_number(stored_.bytes()).text());
}

// A copy; of a stored W it shares what is stored.
template <class Be, std::same_as<frozen_weight<Be>> W_type>
W_type clone(Be& be, const W_type& W) {
  return W.is_stored() ? frozen_weight<Be>(W.stored())
                       : frozen_weight<Be>(clone(be, const_view_of<Be>(W.dense())));
}

template <class Be>
void frozen_weight<Be>::make_dense(Be& be) {
  if (is_stored()) {
    mat<Be> W = be.zeros(rows(), cols());
    typename stored_type::template scratch<Be> scratch;
    be.unpack(stored_, scratch, view_of<Be>(W));
    *this = frozen_weight(std::move(W));
  }
}

// W as a policy sees it. A dense view of a stored W is valid until the next one is asked for of the
// same room, and needs a room that outlives it; a product without one makes its own panel.
template <class Be>
class weight_view {
 public:
  using T = scalar_of<Be>;
  using stored_type = typename Be::stored_weight;

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
  const stored_type& stored() const { return *stored_; }
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
    return unpacked();
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
  const_view_of<Be> unpacked() const;

  const_view_of<Be> dense_{};
  const stored_type* stored_ = nullptr;
  Be* be_ = nullptr;
  weight_room<Be>* room_ = nullptr;
};

template <class Be>
[[gnu::cold]] const_view_of<Be> weight_view<Be>::unpacked() const {
  if (room_ == nullptr) {
    throw invalid_argument("a dense view of a stored weight (" + stored_->type_name() +
                           ") needs a weight_room: weight_view(be, W, room)");
  }
  be_->resize(room_->dense, rows(), cols());
  be_->unpack(*stored_, room_->scratch, view_of<Be>(room_->dense));
  return room_->dense;
}

namespace detail {
template <class Be>
struct weight_types {
  using owner = mat<Be>;
  using seen = const_view_of<Be>;
  struct room {};
};
template <class Be>
requires weight_storing_backend<Be>
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
  if constexpr (weight_storing_backend<Be>) {
    return {be, W, room};
  } else {
    return W;
  }
}

template <class Be>
bool is_stored(const weight_of<Be>& W) {
  if constexpr (weight_storing_backend<Be>) {
    return W.is_stored();
  } else {
    return false;
  }
}

// f(part) for parts that together have every entry of W once: W itself, the panels of a stored_matrix,
// transposed, or all of another stored type.
template <class Be, class F>
void for_each_part(Be& be, const weight_of<Be>& W, F f) {
  if (!is_stored<Be>(W)) {
    f(const_view_of<Be>(W));
  } else if constexpr (stored_matrix_backend<Be>) {
    mat<Be> room;
    for_each_panel(be, W.stored(), room, [&](index_t, const_view_of<Be> panel) { f(panel); });
  } else if constexpr (weight_storing_backend<Be>) {
    weight_room<Be> room;
    f(view_in<Be>(be, W, room).dense());
  }
}

}  // namespace preheat
