// One policy per axis, written as a user would: with nothing but core/concepts.hpp at hand.
#pragma once
#include <preheat/linalg/truncated_svd.hpp>
#include <preheat/methods.hpp>
#include <tuple>
#include <utility>
#include <vector>

namespace user {

using namespace preheat;

// adapter: every output is scaled, y = (1 + l) ⊙ (W·x) + b. No factors, hence no init and no rank.
//   ∂l_i = Σ_j dy_ij·(W·x)_ij,  dx = Wᵀ((1 + l) ⊙ dy)
struct scaled_outputs {
  using axis = axes::adapter;
  static constexpr bool has_factors = false;
  static constexpr bool represents_any_product = false;
  static constexpr singular_side side = singular_side::automatic;

  template <class Be>
  struct params {
    mat<Be> l;
    static constexpr auto parameters() {
      return std::tuple(make_parameter<parameter_role::magnitude>("l", &params::l));
    }
  };
  template <class Be>
  struct saved_activations {
    mat<Be> frozen_output;
    mat<Be> scaled_gradient;
  };

  template <backend Be>
  params<Be> start(Be& be, const frozen_linear<Be>& base, const generator&) const {
    return {be.zeros(base.W.rows(), 1)};
  }
  template <backend Be>
  void forward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>& x,
               view_of<Be> Y, saved_activations<Be>& t) const {
    be.gemm(1, transpose::no, base.W, transpose::no, x.base, 0, Y);
    be.resize(t.frozen_output, Y.rows(), Y.cols());
    be.copy(transpose::no, Y, t.frozen_output);
    scale<Be>(be, p, t.frozen_output, Y);
    if (!base.b.empty()) {
      be.add_to_cols(base.b, Y);
    }
  }
  template <backend Be>
  void backward(Be& be, const params<Be>& p, const frozen_linear<Be>& base, const layer_input<Be>&,
                const_view_of<Be> dY, params<Be>& gradient, const input_gradient<Be>& dx,
                saved_activations<Be>& t) const {
    be.add_row_dots(1, dY, t.frozen_output, gradient.l);
    if (dx.wanted()) {
      be.resize(t.scaled_gradient, dY.rows(), dY.cols());
      be.copy(transpose::no, dY, t.scaled_gradient);
      scale<Be>(be, p, dY, t.scaled_gradient);
      be.gemm(1, transpose::yes, base.W, transpose::no, t.scaled_gradient, 0, dx.base);
    }
  }
  template <backend Be>
  void merge(Be& be, const params<Be>& p, scalar_of<Be>, view_of<Be> W, view_of<Be>) const {
    const mat<Be> before = clone<Be>(be, W);
    scale<Be>(be, p, before, W);
  }

 private:
  // to = from + l ⊙ from, where to holds from
  template <class Be>
  static void scale(Be& be, const params<Be>& p, const_view_of<Be> from, view_of<Be> to) {
    mat<Be> product = clone<Be>(be, from);
    be.scale_rows(p.l, product);
    be.apply(linalg::axpby<scalar_of<Be>>{1, 1}, to, product);
  }
};

// init with calibration: one step of full fine-tuning moves W along −G; A is its leading right
// singular vectors, B = 0.
struct one_step_directions {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <class Be>
  using calibration = mat<Be>;  // W after the step − W

  index_t calibration_steps(index_t) const { return 1; }

  template <class Context>
  std::vector<mat<typename Context::backend_type>> calibrate(Context& context) const {
    using Be = typename Context::backend_type;
    const auto report = context.train(method<adapter::full, optim::sgd>{.optim = {.lr = 1}}, 1, 1);
    std::vector<mat<Be>> moved(context.layers().size());
    for (const auto& l : report.layers) {
      const auto index = std::size_t(l.index);
      moved[index] = clone<Be>(context.backend(), l.parameters.W);
      context.backend().apply(linalg::axpby<scalar_of<Be>>{-1, 1}, moved[index],
                              context.layers()[index].W);
    }
    return moved;
  }
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>& moved) const {
    const svd_result<mat<Be>> d = linalg::truncated_svd<Be>(be, moved, s.rank);
    return {linalg::transposed<Be>(be, d.V), be.zeros(s.W.rows(), s.rank)};
  }
};

// optim: p ← p − lr·sign(g)
struct sign_descent {
  using axis = axes::optim;
  double lr = 1e-3;

  template <class Be, class P>
  struct state {
    template <class F>
    void for_each_moment(F) {}
    template <class Archive>
    void archive(Archive&) {}
  };
  template <class T>
  struct kernel {
    T rate;
    constexpr void operator()(T& p, const T& g) const {
      p -= g > 0 ? rate : (g < 0 ? -rate : T(0));
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be&, const P&) const {
    return {};
  }
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>&, const step_context& context) const {
    using T = scalar_of<Be>;
    for_each_trained([&](auto parameter, auto& x,
                         auto& g) { be.apply(kernel<T>{T(context.rate(parameter.role))}, x, g); },
                     p, gradient);
  }
};

// optim, a decorator: the loss gains ½·λ·‖p‖², whatever the optimizer below.
template <class Base = optim::adamw>
struct ridge {
  using axis = axes::optim;
  Base base{};
  double lambda = 0;

  template <class Be, class P>
  using state = typename Base::template state<Be, P>;

  template <backend Be, class P>
  void on(hook::penalize, Be& be, const P& p, P& gradient, const step_context&) const {
    using T = scalar_of<Be>;
    for_each_trained(
        [&](auto, auto& g, const auto& x) {
          be.apply(linalg::axpby<T>{T(lambda), 1}, g, x);
        },
        gradient, p);
  }
  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    return base.start(be, p);
  }
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    base.step(be, p, gradient, st, context);
  }
};

// rank: after `when` steps keep every other rank, and append `added` fresh ones.
struct halved {
  using axis = axes::rank;
  template <class Be>
  struct state {
    index_t changes = 0;
    template <class Archive>
    void archive(Archive& ar) {
      ar("changes", changes);
    }
  };
  index_t when = 3;
  index_t added = 0;

  index_t initial_rank(index_t, index_t, index_t wanted) const { return wanted; }

  template <class Run>
  void on(hook::after_step, Run& run) const {
    if (run.steps_done() != when) {
      return;
    }
    for (const index_t l : run.targets()) {
      std::vector<index_t> keep;
      for (index_t k = 0; k < run.rank_of(l); k += 2) {
        keep.push_back(k);
      }
      run.select_ranks(l, keep, added);
      ++run.rank_state.changes;
    }
  }
};

// chain: every `period` steps fold ΔW into W and draw again; with `rotate`, one layer at a time.
struct fold_every {
  using axis = axes::chain;
  static constexpr bool merges = true;
  template <class Be>
  struct state {
    index_t rounds = 0;
    template <class Archive>
    void archive(Archive& ar) {
      ar("rounds", rounds);
    }
  };
  index_t period = 4;
  bool rotate = false;

  template <class Run>
  void on(hook::begin, Run& run) const {
    const std::vector<index_t>& all = run.targets();
    const auto turn = std::size_t(run.chain_state.rounds++);
    run.attach(rotate ? std::vector<index_t>{all[turn % all.size()]} : all);
  }
  template <class Run>
  void on(hook::before_step, Run& run) const {
    if (run.steps_done() > 0 && run.steps_done() % period == 0) {
      run.merge(run.targets());
      on(hook::begin{}, run);
    }
  }
  template <class Run>
  void on(hook::finish, Run& run) const {
    run.merge(run.targets());
  }
};

}  // namespace user
