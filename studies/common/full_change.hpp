// What full fine-tuning changes in a network's linear layers, and how much of it lies in the directions of
// adapters. Included only where methods are instantiated.
#pragma once
#include <cstddef>
#include <utility>
#include <vector>

#include <preheat/preheat.hpp>

namespace studies::common {

template <class Be>
struct full_change {
  std::vector<preheat::mat<Be>> D;  // W after less W before, layer by layer
  double square = 0;                // Σ‖D‖²
};

template <class Be, class Net>
full_change<Be> change_between(Be& be, Net& before, Net& after) {
  using const_view = preheat::const_view_of<Be>;
  full_change<Be> change;
  for (std::size_t l = 0; l < after.layers().size(); ++l) {
    preheat::mat<Be> D = preheat::clone(be, const_view(after.layers()[l].W));
    be.apply(preheat::linalg::axpby<typename Be::scalar>{-1, 1}, D,
             const_view(before.layers()[l].W));
    change.square += double(be.dot(D, D));
    change.D.push_back(std::move(D));
  }
  return change;
}

// The share of Σ‖D‖² in the spaces of the rows of A of a run's adapters, wherever it stands: Σ‖D·Q‖² ÷ Σ‖D‖²
// with the columns of Q an orthonormal basis of each.
template <class Be, class Run>
double share_in_rows(Be& be, Run& run, const full_change<Be>& full) {
  double inside = 0;
  for (std::size_t l = 0; l < full.D.size(); ++l) {
    const auto& layer = run.adapters.layers()[l];
    if (layer.attached) {
      const auto f = run.method.adapter.product(be, layer.parameters);
      const auto Q = be.qr(preheat::linalg::transposed<Be>(be, f.A)).Q;
      const auto DQ = preheat::linalg::product<Be>(be, preheat::transpose::no, full.D[l],
                                                   preheat::transpose::no, Q);
      inside += double(be.dot(DQ, DQ));
    }
  }
  return inside / full.square;
}

}  // namespace studies::common
