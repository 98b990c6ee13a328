// The trained parameters of the layers of an adapted operator as one vector: copies, sums and inner
// products of such vectors, and moving the operator's parameters to one. Nothing is known of the
// adapter but its list of parameters.
#pragma once
#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "../linalg/random_matrix.hpp"

namespace preheat {

template <class Linear>
class parameter_space {
 public:
  using Be = std::remove_cvref_t<decltype(std::declval<Linear&>().backend())>;
  using T = scalar_of<Be>;
  using params = std::remove_cvref_t<decltype(std::declval<Linear&>().layers()[0].parameters)>;
  using vector = std::vector<params>;

  // Of these layers, all of which have adapters, or of all that have.
  parameter_space(Linear& linear, const std::vector<index_t>& wanted) : linear_(&linear) {
    for (index_t l = 0; l < index_t(linear.layers().size()); ++l) {
      const bool named = std::find(wanted.begin(), wanted.end(), l) != wanted.end();
      if (linear.layers()[l].attached && (wanted.empty() || named)) {
        layers_.push_back(l);
      }
    }
    require(!layers_.empty() && (wanted.empty() || wanted.size() == layers_.size()),
            "the layers have adapters", layers_.size(), wanted.size());
  }

  vector parameters() {
    return copy_of([](auto& l) -> params& { return l.parameters; });
  }
  vector gradient() {
    return copy_of([](auto& l) -> params& { return l.gradient; });
  }
  // The parameters become p.
  void move_to(const vector& p) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      for_each_trained(
          [&](auto, auto& to, const auto& from) { be().copy(transpose::no, from, to); },
          linear_->layers()[layers_[i]].parameters, p[i]);
    }
  }
  // A random direction, not normalized.
  vector random(const generator& gen) {
    vector v = gradient();
    std::uint64_t number = 0;
    each(
        [&](auto& x) {
          x = linalg::normal(be(), x.rows(), x.cols(), 1, gen.fork(purpose::sketch, number++));
        },
        v);
    return v;
  }
  double dot(const vector& a, const vector& b) {
    double sum = 0;
    each([&](const auto& x, const auto& y) { sum += double(be().dot(x, y)); }, a, b);
    return sum;
  }
  // a += s·b
  void add(vector& a, double s, const vector& b) {
    each([&](auto& x, const auto& y) { be().apply(linalg::axpby<T>{T(s), 1}, x, y); }, a, b);
  }
  void scale(vector& a, double s) {
    each([&](auto& x) { be().apply(linalg::scale<T>{T(s)}, x); }, a);
  }
  // a + s·b
  vector sum(const vector& a, double s, const vector& b) {
    vector c;
    for (const params& x : a) {
      c.push_back(clone_params(be(), x));
    }
    add(c, s, b);
    return c;
  }
  Be& be() { return linear_->backend(); }

 private:
  // Calls f with the same trained parameter of every vector.
  template <class F, class... V>
  void each(F f, V&... vectors) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      for_each_trained([&](auto, auto&... x) { f(x...); }, vectors[i]...);
    }
  }
  template <class Part>
  vector copy_of(Part part) {
    vector v;
    for (const index_t l : layers_) {
      v.push_back(zeros_like(be(), linear_->layers()[l].parameters));
      for_each_trained(
          [&](auto, auto& to, const auto& from) { be().copy(transpose::no, from, to); }, v.back(),
          part(linear_->layers()[l]));
    }
    return v;
  }

  Linear* linear_;
  std::vector<index_t> layers_;
};

}  // namespace preheat
