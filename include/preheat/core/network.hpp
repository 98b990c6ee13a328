// The contracts of a network, of the operator through which it computes its linear layers, and of
// the batches on which it is trained.
//
// A complete network, one layer with the loss ½‖W·x − y‖²/n over the n columns of a batch, and its
// batches:
//
//   template <preheat::backend Be>
//   class regression {
//    public:
//     using backend_type = Be;
//     struct batch_type {
//       preheat::mat<Be> x, y;
//     };
//
//     regression(Be& be, preheat::const_view_of<Be> W) : be_(&be) {
//       layers_.push_back({"linear", preheat::clone(be, W)});
//     }
//     Be& backend() const { return *be_; }
//     std::span<preheat::base_layer<Be>> layers() { return layers_; }
//
//     template <class Linear>
//     preheat::scalar_of<Be> loss(const batch_type& batch, Linear& linear) {
//       return pass_over(preheat::pass_kind::evaluation, batch, linear);
//     }
//     template <class Linear>
//     preheat::scalar_of<Be> loss_and_gradient(const batch_type& batch, Linear& linear) {
//       const auto loss = pass_over(preheat::pass_kind::training, batch, linear);
//       const auto n = preheat::scalar_of<Be>(batch.x.cols());
//       be_->apply(times<preheat::scalar_of<Be>>{1 / n}, error_);
//       linear.backward(0, batch.x, error_, false);  // false: ∂loss/∂x is not needed
//       return loss;
//     }
//
//    private:
//     template <class T>
//     struct minus {
//       constexpr void operator()(T& x, const T& y) const { x -= y; }
//     };
//     template <class T>
//     struct times {
//       T factor;
//       constexpr void operator()(T& x) const { x *= factor; }
//     };
//     template <class Linear>
//     preheat::scalar_of<Be> pass_over(preheat::pass_kind p, const batch_type& batch,
//                                      Linear& linear) {
//       linear.begin(p);
//       error_ = preheat::clone(*be_, linear.forward(0, batch.x));
//       be_->apply(minus<preheat::scalar_of<Be>>{}, error_, batch.y);
//       return be_->dot(error_, error_) / (2 * preheat::scalar_of<Be>(batch.x.cols()));
//     }
//     Be* be_;
//     std::vector<preheat::base_layer<Be>> layers_;
//     preheat::mat<Be> error_;
//   };
//
//   template <preheat::backend Be>
//   struct one_batch {  // the same batch in every step
//     Be* be;
//     preheat::const_view_of<Be> x, y;
//     void load(preheat::generator, preheat::index_t,
//               typename regression<Be>::batch_type& batch) const {
//       batch = {preheat::clone(*be, x), preheat::clone(*be, y)};
//     }
//   };
#pragma once
#include <concepts>
#include <span>
#include <string>

#include "backend.hpp"
#include "frozen_weight.hpp"
#include "random.hpp"
#include "types.hpp"

namespace preheat {

// An adaptable linear layer of a network: y = W·x + b. b is m×1, or empty. W is a matrix, or stays
// stored as its file has it (frozen_weight.hpp).
template <class Be>
struct base_layer {
  std::string name;
  weight_of<Be> W;
  mat<Be> b{};
};

// A pass over the network: training passes store what backward needs.
enum class pass_kind { evaluation, training };

// How a network computes its linear layers. The base alone, the recorder and an adapted network are
// operators of this concept, so that a network does not depend on adapters, nor an adapter on
// networks. A layer may be used several times in a pass; backward is called in reverse order of
// forward. What forward and backward return is valid until the next pass begins.
template <class L, class Be>
concept linear_operator = requires(L& linear, pass_kind p, index_t layer, const_view_of<Be> X,
                                   const_view_of<Be> dY, bool need_dx) {
  { linear.begin(p) } -> std::same_as<void>;
  { linear.forward(layer, X) } -> std::same_as<view_of<Be>>;
  { linear.backward(layer, X, dY, need_dx) } -> std::same_as<view_of<Be>>;  // empty unless need_dx
  { linear.first_trained() } -> std::same_as<index_t>;  // layers before it need no gradient at all
};
template <class Be>
struct linear_operator_archetype {
  void begin(pass_kind);
  view_of<Be> forward(index_t layer, const_view_of<Be> X);
  view_of<Be> backward(index_t layer, const_view_of<Be> X, const_view_of<Be> dY, bool need_dx);
  index_t first_trained();
};

// Anything with named linear layers and a loss over batches. Both loss functions begin a pass.
template <class N>
concept network = requires(N& net, typename N::backend_type& be,
                           const typename N::batch_type& batch,
                           linear_operator_archetype<typename N::backend_type>& linear) {
  requires backend<typename N::backend_type>;
  { net.backend() } -> std::same_as<typename N::backend_type&>;
  { net.layers() } -> std::same_as<std::span<base_layer<typename N::backend_type>>>;
  { net.loss(batch, linear) } -> std::same_as<scalar_of<typename N::backend_type>>;
  { net.loss_and_gradient(batch, linear) } -> std::same_as<scalar_of<typename N::backend_type>>;
};

// data: loads the batch of a step from a stream. The same (stream, step) gives the same batch.
template <class D, class Net>
concept data_source = requires(D& data, generator stream, index_t step,
                               typename Net::batch_type& batch) {
  { data.load(stream, step, batch) } -> std::same_as<void>;
};

}  // namespace preheat
