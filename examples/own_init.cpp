// A user's own init policy, and a run that compares it with LoRA's default.
//
// The idea: what W already does most is what an adaptation will change. So A starts as the longest
// rows of W, each scaled to length 1, and B as zero: a cheap relative of PiSSA that leaves W alone.
// On the problem below, where the change does lie in those rows, it must beat random rows; exit
// code 0 if it does.
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <preheat/preheat.hpp>
#include <vector>

using namespace preheat;

// An init is the axis it belongs to, the hooks it has, two facts about itself, and a function of a
// site (the layer's W, rank, scaling, generator) that returns A (r×in) and B (out×r).
struct longest_rows {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;  // s·B·A = 0: the output stays

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    const index_t m = s.W.rows();
    mat<Be> squares = be.zeros(m, 1);
    be.add_row_dots(1, s.W, s.W, squares);
    const auto length = be.download(squares);
    std::vector<std::size_t> order(length.size());
    std::iota(order.begin(), order.end(), std::size_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t i, std::size_t j) { return length[i] > length[j]; });

    mat<Be> A = be.zeros(s.rank, s.W.cols());
    for (index_t i = 0; i < s.rank; ++i) {
      const index_t from = index_t(order[i]);
      be.copy(transpose::no, s.W.row_range(from, 1), view(A).row_range(i, 1));
    }
    linalg::set_row_norms(be, A, 1);
    return {std::move(A), be.zeros(m, s.rank)};
  }
};

// The loss of a method after 60 steps on ½‖W + s·B·A − target‖².
template <class Method>
double final_loss(const char* name, const Method& m) {
  cpu<double> be;
  Eigen::MatrixXd W = linalg::normal(be, 64, 48, 0.1, generator(1)).eigen();
  W.topRows(4) *= 10;  // four rows that do most
  const Eigen::MatrixXd change =
      linalg::normal(be, 64, 4, 0.1, generator(2)).eigen() * W.topRows(4);
  nn::least_squares network(be, W, Eigen::MatrixXd(W + change));

  const auto report = fit(m, network, network.batches(), {.rank = 4, .steps = 60});
  std::printf("%-14s loss %8.3f -> %8.3f\n", name, report.losses.front(), report.losses.back());
  return report.losses.back();
}

int main() {
  const double random = final_loss("kaiming", method<init::kaiming>{.optim = {.lr = 1e-2}});
  const double own = final_loss("longest_rows", method<longest_rows>{.optim = {.lr = 1e-2}});
  return own < 0.5 * random ? 0 : 1;
}
