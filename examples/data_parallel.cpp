// One network trained by several processes: a classifier of upright digits, adapted to rotated ones
// by HRP, every batch of 64 shared between the processes.
//
//   mpirun -n 4 data_parallel
//
// It prints the same numbers, to rounding, whatever the number of processes. Exit code 0 if all
// processes hold the same bits at the end and the adapter has learnt.
#include <cstdio>
#include <preheat/comm/mpi.hpp>
#include <preheat/preheat.hpp>

#include "compare/digits.hpp"

using namespace preheat;
using comparison::samples;
using Be = cpu<float>;
using batch_type = nn::labelled_batch<Be>;

namespace {

batch_type to_batch(const samples& s) {
  const auto columns = Eigen::Index(s.count());
  return {Eigen::Map<const Eigen::MatrixXf>(s.X.data(), comparison::pixels, columns),
          Eigen::Map<const Eigen::RowVectorXi>(s.y.data(), columns).cast<float>()};
}
nn::minibatches<Be> batches_of(Be& be, const samples& s) {
  batch_type all = to_batch(s);
  return {be, std::move(all.X), std::move(all.target), 64};
}

template <class Lin>
double accuracy(nn::mlp<Be>& network, const samples& s, Lin& lin) {
  const batch_type all = to_batch(s);
  const std::vector<float> scores = network.backend().download(network.forward(all.X, lin));
  std::size_t right = 0;
  for (std::size_t i = 0; i < s.count(); ++i) {
    const auto first = scores.begin() + std::ptrdiff_t(i * comparison::classes);
    right += std::max_element(first, first + comparison::classes) - first == s.y[i];
  }
  return double(right) / double(s.count());
}

int train(comm::mpi& world) {
  const auto data = comparison::make_shift(comparison::read_digits(comparison::find_digits("")),
                                           comparison::shift::rotated);
  Be be;
  nn::mlp<Be> network(be, {comparison::pixels, 128, 128, comparison::classes}, 1);
  fit_options options{.rank = 4, .steps = 150, .processes = world};

  const auto upright =
      fit(full_fine_tuning{.optim = {.lr = 2e-3}}, network, batches_of(be, data.pretrain), options);
  merge(network, upright);
  const auto report =
      fit(hrp<>{.optim = {.lr = 1e-2}}, network, batches_of(be, data.train), options);

  bit_hash bits;
  for (const auto& l : report.layers) {
    bits.add<Be>(be, l.parameters.A);
    bits.add<Be>(be, l.parameters.B);
  }
  options.processes.require_same(bits.value(), "adapter");

  base_operator<Be> base(network);
  auto adapted = attach(network, report);
  const double before = accuracy(network, data.test, base);
  const double after = accuracy(network, data.test, adapted);
  if (world.rank() == 0) {
    std::printf("%d of a batch's 64 digits in each of %d processes, %ld numbers summed a step\n",
                64 / world.size(), world.size(), long(report.trainable_parameters));
    std::printf("loss %.4f -> %.4f, accuracy on rotated digits %.3f -> %.3f, %.1f s\n",
                report.losses.front(), report.losses.back(), before, after, report.seconds);
  }
  return after > before + 0.3 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return comm::mpi_main(argc, argv, train);
}
