// SHiRA, Sparse High Rank Adapters (Bhardwaj et al., arXiv 2406.13175): a few entries of W are trained, so that
// the rank of ΔW is high and adapters of disjoint entries can be added:
//
//   ΔW = s·(M ⊙ D),  y = (W + ΔW)·x + b;   M is 1 in r·(m + n) random entries and 0 elsewhere;   D = 0 at the start
//   forward   Y = W·X + s·(M ⊙ D)·X̃ + b
//   backward  ∂D += s·M ⊙ (dY·X̃ᵀ),  dX = Wᵀ·dY + s·(M ⊙ D)ᵀ·dY
//
// The number of entries is that of LoRA at rank r, the mask is random, and there is no s (scaling::constant(1)):
// all [PEFT]; the paper has other masks (by magnitude, by gradient), for which set `mask` of the parameters.
// [preheat] A backend has no operation that scatters, so D, its gradient and its moments are held as m×n
// matrices, in which all entries outside the mask stay zero (for any optimizer they have no effect). So the
// memory is that of full fine-tuning, and `trained_size` counts m·n numbers, of which r·(m + n) move.
// It has ranks only as a measure of size: no init, no masks by rank, no change of rank, no start for HRP.
// Errors: r·(m + n) > m·n. Cost of a step over the products with W: two more of them and one of 2·m·n·N
// operations, and two buffers m×n per use of a layer.
#pragma once
#include <tuple>
#include <vector>

#include "../linalg/elementwise.hpp"
#include "frozen.hpp"

namespace preheat::adapter {

struct shira {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> D, mask;
    mat<Be> ranks;  // r×1: its length alone says something
    static constexpr auto parameters() {
      return std::tuple(
          make_parameter<parameter_role::weight>("D", &params::D),
          make_parameter<parameter_role::weight, along::none, false>("mask", &params::mask),
          make_parameter<parameter_role::weight, along::none, false>("ranks", &params::ranks));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> sparse, E;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, index_t rank,
                   const generator& gen) const {
    const index_t m = base.W.rows(), n = base.W.cols();
    const index_t count = rank * (m + n);
    require(rank >= 1, "adapter::shira: rank >= 1", rank, 1);
    require(count <= m * n, "adapter::shira: rank·(out + in) <= out·in", count, m * n);
    std::vector<scalar_of<Be>> host(std::size_t(m * n), scalar_of<Be>(0));
    for (const index_t i : random_subset(count, m * n, gen)) {
      host[i] = 1;
    }
    mat<Be> mask = be.zeros(m, n);
    be.upload(host, mask);
    return {be.zeros(m, n), std::move(mask), be.zeros(rank, 1)};
  }

  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    form_delta(be, p, base.scaling, t.sparse);
    forward_with_delta(be, base, t.sparse, x, Y);
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base,
                const layer_input<Be>& x, const_view_of<Be> dY, params<Be>& gradient,
                const input_gradient<Be>& dx, saved_activations<Be>& t) const {
    using T = scalar_of<Be>;
    gradient_of_delta(be, x, dY, t.E);
    be.apply(linalg::multiply<T>{}, t.E, p.mask);
    be.apply(linalg::axpby<T>{base.scaling, 1}, gradient.D, t.E);
    backward_with_delta(be, base, t.sparse, dY, dx);
  }
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be> s, view_of<Be> W, view_of<Be>) const {
    mat<Be> delta;
    form_delta<Be>(be, p, s, delta);
    be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, W, delta);
  }
  template <class Be>
  index_t rank(const params<Be>& p) const {
    return p.ranks.rows();
  }

 private:
  template <backend Be>
  static void form_delta(Be& be, const params<Be>& p, scalar_of<Be> s, mat<Be>& delta) {
    be.resize(delta, p.D.rows(), p.D.cols());
    be.copy(transpose::no, p.D, delta);
    be.apply(linalg::multiply<scalar_of<Be>>{}, delta, p.mask);
    be.apply(linalg::scale<scalar_of<Be>>{s}, delta);
  }
};

}  // namespace preheat::adapter
