// Twenty steps of AdamW of an adapter on regressions, against plain loops.
#pragma once
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"

namespace conformance {

// The trained parameters of a layer, in the order of the adapter's list.
using tables = std::vector<table>;

template <preheat::backend Be, class P>
tables read_trained(Be& be, const P& p) {
  tables all;
  preheat::for_each_trained([&](auto, const auto& x) { all.push_back(read<Be>(be, x)); }, p);
  return all;
}

// x·y, entry by entry.
inline table entrywise(table x, const table& y) {
  for (std::size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] *= y.values[i];
  }
  return x;
}
inline table rows(const table& a, index_t first, index_t count) {
  return transposed(columns(transposed(a), first, count));
}

// delta(W, p, parameters) is ΔW of a layer whose weight is W by its trained tables p, and pull(W, p, G,
// parameters) their gradients from that of W + ΔW, G. `parameters` are the run's, for what is not trained.
// Every trained table is first set to random numbers, so that none is zero.
template <class Method, class Delta, class Pull>
void check_adapter_reference(Method m, const std::vector<std::pair<index_t, index_t>>& shapes,
                             index_t rank, double s, Delta delta, Pull pull, double size = 1) {
  using Be = cpu_double;
  const double rate = 0.02, decay = 0.1;
  m.optim.lr = rate;
  m.optim.weight_decay = decay;
  const regression_data data(shapes);
  Be be;
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches{};
  auto run = preheat::start_run(
      m, net, batches, {.rank = rank, .steps = 20, .scaling = preheat::scaling::constant(s)});
  std::vector<tables> p;
  std::vector<std::vector<reference_adam>> adam;
  for (auto& l : run.adapters.layers()) {
    std::uint64_t seed = 900 + 10 * p.size();
    preheat::for_each_trained(
        [&](auto, auto& x) {
          write(be, size * random_table(x.rows(), x.cols(), ++seed), preheat::view_of<Be>(x));
        },
        l.parameters);
    p.push_back(read_trained(be, l.parameters));
    adam.emplace_back(p.back().size());
  }
  double first = 0, last = 0;
  for (index_t t = 0; t < 20; ++t) {
    CAPTURE(t);
    run.step();
    std::vector<table> whole;
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      CAPTURE(l);
      const auto& parameters = run.adapters.layers()[l].parameters;
      const table& W = data.layers[l].W;
      whole.push_back(W + delta(W, p[l], parameters));
      const tables g =
          pull(W, p[l], data.gradient(l, whole.back(), regression_data::batch(t)), parameters);
      for (std::size_t i = 0; i < g.size(); ++i) {
        CHECK(largest(g[i]) > 0);
        p[l][i] = (1 - rate * decay) * p[l][i] - rate * adam[l][i].direction(g[i]);
      }
      const tables now = read_trained(be, parameters);
      REQUIRE(now.size() == g.size());
      for (std::size_t i = 0; i < g.size(); ++i) {
        CHECK(gap(now[i], p[l][i]) < 1e-10);
      }
    }
    (t == 0 ? first : last) = data.loss(whole, regression_data::everything());
  }
  CHECK(last < first);
}

// What every adapter without factors must do: leave the output alone at the start, merge to the same
// output, fall in chains and in a run under another optimizer.
template <class Be, class Method>
void check_life_of(Method m, const std::vector<std::pair<index_t, index_t>>& shapes, index_t rank) {
  const regression_data data(shapes);
  Be be;
  const auto all = regression_data::everything();
  m.optim.lr = 0.02;
  {
    regressions<Be> net(be, data);
    typename regressions<Be>::batches batches{};
    preheat::base_operator<Be> base(net);
    const double before = double(net.loss(all, base));
    auto run = preheat::start_run(m, net, batches, {.rank = rank, .steps = 30});
    CHECK(double(net.loss(all, run.adapters)) == before);
    const auto report = run.run_to_end();
    CHECK(report.layers[0].rank == rank);
    CHECK_FALSE(report.base_changed);
    auto adapted = preheat::attach(net, report);
    const double after = double(net.loss(all, adapted));
    CHECK(after < before);
    preheat::merge(net, report);
    preheat::base_operator<Be> merged(net);
    CHECK(std::abs(double(net.loss(all, merged)) - after) < tolerance<Be>(100) * before);
  }
  {
    regressions<Be> net(be, data);
    typename regressions<Be>::batches batches{};
    preheat::base_operator<Be> base(net);
    const double before = double(net.loss(all, base));
    preheat::with<Method, preheat::chain::merge_every> chained{};
    chained.optim.lr = 0.02;
    chained.adapter = m.adapter;
    chained.chain.period = 10;
    preheat::fit(chained, net, batches, {.rank = rank, .steps = 30});
    preheat::base_operator<Be> merged(net);
    CHECK(double(net.loss(all, merged)) < before);
  }
}

}  // namespace conformance
