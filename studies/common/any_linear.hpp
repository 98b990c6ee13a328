// Any linear operator behind one type, so that a network is compiled once for all methods. A call costs
// a jump through a table, and is a product of matrices.
#pragma once
#include <memory>
#include <type_traits>

#include <preheat/core/network.hpp>
#include <preheat/nn/layers_together.hpp>

namespace studies::common {

// A reference to an operator, one with the members of operators/layer_uses.hpp. It joins layers
// (nn/layers_together.hpp) where the operator does.
template <preheat::backend Be>
class any_linear {
  using index_t = preheat::index_t;

 public:
  using input = preheat::const_view_of<Be>;
  using output = preheat::view_of<Be>;
  using joined_input = preheat::const_activation_view<Be>;
  using joined_output = preheat::activation_view<Be>;

  template <class Linear>
  explicit any_linear(Linear& linear) : object_(&linear), calls_(&table<Linear>) {}

  void begin(preheat::pass_kind pass) { calls_->begin(object_, pass); }
  output forward(index_t layer, input X) { return calls_->forward(object_, layer, X); }
  output backward(index_t layer, input X, input dY, bool need_dx) {
    return calls_->backward(object_, layer, X, dY, need_dx);
  }
  index_t first_trained() { return calls_->first_trained(object_); }

  void next_chunk(index_t layer, index_t first, index_t columns) {
    calls_->next_chunk(object_, layer, first, columns);
  }
  void share_buffers(index_t layer, index_t outputs, index_t gradient) {
    calls_->share_buffers(object_, layer, outputs, gradient);
  }
  void forget_use(index_t layer) { calls_->forget_use(object_, layer); }
  void repeat(bool again) { calls_->repeat(object_, again); }

  bool joins(index_t first, index_t count) const { return calls_->joins(object_, first, count); }
  index_t border(index_t first, index_t count) const {
    return calls_->border(object_, first, count);
  }
  joined_output forward_joined(index_t first, index_t count, joined_input X, index_t room) {
    return calls_->forward_joined(object_, first, count, X, room);
  }
  template <class Make>
  joined_output backward_joined(index_t first, index_t count, joined_input X, joined_input dY,
                                index_t room, bool need_dx, Make&& make) {
    using function = std::remove_reference_t<Make>;
    const maker any{const_cast<void*>(static_cast<const volatile void*>(std::addressof(make))),
                    [](void* f, joined_output dX) { (*static_cast<function*>(f))(dX); }};
    return calls_->backward_joined(object_, first, count, X, dY, room, need_dx, any);
  }

 private:
  struct maker {
    void* object;
    void (*call)(void*, joined_output);
    void operator()(joined_output dX) const { call(object, dX); }
  };
  struct calls {
    void (*begin)(void*, preheat::pass_kind);
    output (*forward)(void*, index_t, input);
    output (*backward)(void*, index_t, input, input, bool);
    index_t (*first_trained)(void*);
    void (*next_chunk)(void*, index_t, index_t, index_t);
    void (*share_buffers)(void*, index_t, index_t, index_t);
    void (*forget_use)(void*, index_t);
    void (*repeat)(void*, bool);
    bool (*joins)(const void*, index_t, index_t);
    index_t (*border)(const void*, index_t, index_t);
    joined_output (*forward_joined)(void*, index_t, index_t, joined_input, index_t);
    joined_output (*backward_joined)(void*, index_t, index_t, joined_input, joined_input, index_t,
                                     bool, const maker&);
  };
  template <class L>
  static constexpr bool joins_here = preheat::nn::joins_layers<L, preheat::activation_of<Be>>;
  template <class L>
  static constexpr calls table = {
      [](void* o, preheat::pass_kind pass) { static_cast<L*>(o)->begin(pass); },
      [](void* o, index_t l, input X) { return static_cast<L*>(o)->forward(l, X); },
      [](void* o, index_t l, input X, input dY, bool need_dx) {
        return static_cast<L*>(o)->backward(l, X, dY, need_dx);
      },
      [](void* o) { return static_cast<L*>(o)->first_trained(); },
      [](void* o, index_t l, index_t first, index_t columns) {
        static_cast<L*>(o)->next_chunk(l, first, columns);
      },
      [](void* o, index_t l, index_t outputs, index_t gradient) {
        static_cast<L*>(o)->share_buffers(l, outputs, gradient);
      },
      [](void* o, index_t l) { static_cast<L*>(o)->forget_use(l); },
      [](void* o, bool again) { static_cast<L*>(o)->repeat(again); },
      [](const void* o, [[maybe_unused]] index_t first, [[maybe_unused]] index_t count) {
        if constexpr (joins_here<L>) {
          return static_cast<const L*>(o)->joins(first, count);
        } else {
          return false;
        }
      },
      [](const void* o, [[maybe_unused]] index_t first, [[maybe_unused]] index_t count) {
        if constexpr (joins_here<L>) {
          return static_cast<const L*>(o)->border(first, count);
        } else {
          return index_t(0);
        }
      },
      [](void* o, [[maybe_unused]] index_t first, [[maybe_unused]] index_t count,
         [[maybe_unused]] joined_input X, [[maybe_unused]] index_t room) {
        if constexpr (joins_here<L>) {
          return static_cast<L*>(o)->forward_joined(first, count, X, room);
        } else {
          return joined_output();
        }
      },
      [](void* o, [[maybe_unused]] index_t first, [[maybe_unused]] index_t count,
         [[maybe_unused]] joined_input X, [[maybe_unused]] joined_input dY,
         [[maybe_unused]] index_t room, [[maybe_unused]] bool need_dx,
         [[maybe_unused]] const maker& make) {
        if constexpr (joins_here<L>) {
          return static_cast<L*>(o)->backward_joined(first, count, X, dY, room, need_dx, make);
        } else {
          return joined_output();
        }
      }};

  void* object_;
  const calls* calls_;
};

}  // namespace studies::common
