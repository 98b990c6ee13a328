// Forward, dX, dA, dB of one LoRA layer in bf16, as `fit` computes a decoder's layers: a group of one layer.
#pragma once
#include <preheat/operators/bordered_group.hpp>

#include "work.hpp"

namespace peers {

class joined_step : public work {
 public:
  joined_step(backend_type& be, const inputs& given)
      : be_(be),
        W_(be.store(given.weight("W"))),
        scaling_(given.number("scaling")),
        factors_{given.weight("A"), given.weight("B")},
        m_(factors_.B.rows()),
        n_(factors_.A.cols()),
        r_(factors_.A.rows()),
        X_(rounded(given.batch("X"))),
        dY_(rounded(given.batch("dY"))),
        gradient_(zeros_like(be, factors_)) {
    group_.gather(be_, scaling_, members());
  }

  void run() override {
    group_.refresh(be_, scaling_, members());
    set_zero(be_, gradient_);
    y_ = group_.forward(be_, scaling_, view(X_).row_range(0, n_), r_, Y_);
    dx_ = group_.backward(be_, scaling_, view(X_).row_range(0, n_), view(dY_).row_range(0, m_), r_,
                          Y_, dX_, true, [](activation_view<backend_type>) {});
  }
  void save(outputs& to) override {
    to.batch("Y", widened(y_));
    to.batch("dX", widened(dx_));
    to.weight("dA", gradient_.A);
    to.weight("dB", gradient_.B);
  }

 private:
  using group_type = bordered_group<backend_type>;
  std::vector<group_type::member> members() { return {{&W_, &b_, &factors_, &gradient_}}; }
  activations<backend_type> rounded(const matrix& x) {
    activations<backend_type> to;
    be_.resize(to, x.rows() + r_, x.cols());  // with room for the group
    be_.copy(transpose::no, x, view(to).row_range(0, x.rows()));
    return to;
  }
  matrix widened(const_activation_view<backend_type> x) {
    matrix to = be_.zeros(x.rows(), x.cols());
    be_.copy(transpose::no, x, to);
    return to;
  }

  backend_type& be_;
  weight_of<backend_type> W_;
  matrix b_;
  float scaling_;
  adapter::lora::params<backend_type> factors_;
  index_t m_, n_, r_;
  activations<backend_type> X_, dY_, Y_, dX_;
  adapter::lora::params<backend_type> gradient_;
  group_type group_;
  activation_view<backend_type> y_, dx_;
};

}  // namespace peers
