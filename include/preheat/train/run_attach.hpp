// How the adapters of a run are started, and how their ranks change: run::attach,
// run::select_ranks.
#pragma once
#include "run.hpp"

namespace preheat {

// Starts an adapter in each of these layers, by the init of this start.
template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::attach(const std::vector<index_t>& layers) {
  if constexpr (!adapter_type::has_factors) {
    for (const index_t l : layers) {
      const auto base = lin.base(l);
      place(l, 1, method.adapter.start(backend(), base, adapter_stream(l)));
    }
    ++draws_;
    take_census();
  } else if (draws_ == 0) {
    attach_by(method.init, layers);
  } else {
    attach_by(later_init(method.init), layers);
  }
}

// Gathers the init's evidence for these layers, charges it, and starts an adapter in each.
template <class Method, network Net, class Data, bool Validated>
template <class Init>
void run<Method, Net, Data, Validated>::attach_by(const Init& init,
                                                  const std::vector<index_t>& layers) {
  std::vector<index_t> ranks(net.layers().size(), 0);
  std::vector<double> scalings(net.layers().size(), 1);
  for (const index_t l : layers) {
    ranks[std::size_t(l)] = start_rank(l);
    scalings[std::size_t(l)] = start_scaling(l, ranks[std::size_t(l)]);
  }
  const auto start_each = [&](auto answer) {  // answer(layer, site) is the init's
    for (const index_t l : layers) {
      const double s = scalings[std::size_t(l)];
      start_from(l, s, answer(l, site_of(l, ranks[std::size_t(l)], s)));
    }
  };
  if constexpr (gathers_evidence<Init>) {
    const index_t price = options.charge_evidence ? init.cost(options.steps) : 0;
    const index_t left = steps_planned() - step_;
    if (draws_ > 0 && price >= left) {
      finished_ = true;  // a chain cannot afford another start
      return;
    }
    require(price < left, "steps for evidence < steps of the run", price, left);
    evidence_scene<Net, Data> scene{.net = net,
                                    .data = data_,
                                    .options = options,
                                    .learning_rate = learning_rate(std::as_const(method.optim)),
                                    .layers = layers,
                                    .ranks = ranks,
                                    .scalings = scalings,
                                    .gen = gen_.fork(purpose::evidence, std::uint64_t(draws_))};
    const auto evidence = init.gather(scene);
    charged_ += price;
    ranks = scene.ranks;  // an init may redistribute them (init::eva); s stays
    if (scene.ended()) {
      result_.status = scene.status;
      finished_ = true;
      return;
    }
    start_each([&](index_t l, const site<backend_type>& where) {
      return init(backend(), where, evidence[std::size_t(l)]);
    });
  } else {
    start_each([&](index_t, const site<backend_type>& where) { return init(backend(), where); });
  }
  ++draws_;
  take_census();
}

template <class Method, network Net, class Data, bool Validated>
void run<Method, Net, Data, Validated>::select_ranks(index_t l, const std::vector<index_t>& keep,
                                                     index_t added) {
  auto& s = lin.slots()[std::size_t(l)];
  const index_t kept = index_t(keep.size());
  require(s.attached, "select_ranks: the layer has an adapter");
  require(kept + added <= max_rank(l), "rank <= min(out, in)", kept + added, max_rank(l));
  ++s.starts;
  preheat::select_ranks(backend(), s.parameters, keep, added);
  preheat::select_ranks(backend(), s.gradient, keep, added);
  optim[std::size_t(l)].each(
      [&](params& moment) { preheat::select_ranks(backend(), moment, keep, added); });
  if (kept + added == 0) {
    lin.detach(l);
  }
  if (added > 0) {
    const auto& init = later_init(method.init);
    if constexpr (std::remove_cvref_t<decltype(init)>::needs == evidence_kind::none) {
      const auto where = site_of(l, added, double(s.scaling));
      params fresh =
          method.adapter.start(backend(), lin.base(l), init(backend(), where), adapter_stream(l));
      ++draws_;
      visit_all(
          [&](auto part, auto& all, auto& made) {
            if constexpr (part.ranks == along::rows) {
              backend().copy(op::none, made, view(all).row_range(kept, added));
            } else if constexpr (part.ranks == along::cols) {
              backend().copy(op::none, made, view(all).col_range(kept, added));
            }
          },
          s.parameters, fresh);
    } else {
      throw invalid_argument(
          "ranks added during training are drawn afresh: use an init without evidence (kaiming, "
          "gaussian, orthogonal), or init::first_then<this init, kaiming>");
    }
  }
  take_census();
}

}  // namespace preheat
