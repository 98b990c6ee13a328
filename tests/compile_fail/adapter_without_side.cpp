// expect: preheat: the adapter lacks a member of concept adapter_policy (core/adapter.hpp; the note below names it)
// note: side
#include "paper.hpp"

using namespace preheat;

struct vector_bank {
  using axis = axes::adapter;
  static constexpr bool has_factors = true;
  static constexpr bool represents_any_product = true;

  template <class Be>
  struct params {
    mat<Be> A, B;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::A, along::rows>("A", &params::A),
                        make_parameter<parameter_role::B, along::cols>("B", &params::B));
    }
  };
  template <class Be>
  struct saved_activations {};

  template <backend Be>
  params<Be> start(Be&, const frozen_linear<Be>&, factors<Be> f, const generator&) const {
    return {std::move(f.A), std::move(f.B)};
  }
  template <backend Be>
  void forward(Be&, const params<Be>&, const frozen_linear<Be>&, const layer_input<Be>&,
               view_of<Be>, saved_activations<Be>&) const {}
  template <backend Be>
  void backward(Be&, const params<Be>&, const frozen_linear<Be>&, const layer_input<Be>&,
                const_view_of<Be>, params<Be>&, const input_gradient<Be>&,
                saved_activations<Be>&) const {}
  template <backend Be>
  factors<Be> product(Be& be, const params<Be>& p) const {
    return {clone(be, const_view_of<Be>(p.A)), clone(be, const_view_of<Be>(p.B))};
  }
};

int main() {
  paper be;
  nn::least_squares net(be, be.zeros(4, 3), be.zeros(4, 3));
  auto report = fit(method<vector_bank>{}, net, net.batches(), {.rank = 2});
  return int(report.losses.size());
}
