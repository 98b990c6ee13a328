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

#include "studies/digits/digits.hpp"

using namespace preheat;
using studies::digits::samples;
using Be = cpu<float>;
using batch_type = nn::labelled_batch<Be>;

namespace {

batch_type to_batch(const samples& s) {
  const auto columns = Eigen::Index(s.count());
  return {Eigen::Map<const Eigen::MatrixXf>(s.X.data(), studies::digits::pixels, columns),
          Eigen::Map<const Eigen::RowVectorXi>(s.y.data(), columns).cast<float>()};
}
nn::minibatches<Be> batches_of(Be& be, const samples& s) {
  batch_type all = to_batch(s);
  return {be, std::move(all.X), std::move(all.target), 64};
}

template <class Linear>
double accuracy(nn::mlp<Be>& network, const samples& s, Linear& linear) {
  const batch_type all = to_batch(s);
  const std::vector<float> scores = network.backend().download(network.forward(all.X, linear));
  std::size_t right = 0;
  for (std::size_t i = 0; i < s.count(); ++i) {
    const auto first = scores.begin() + std::ptrdiff_t(i * studies::digits::classes);
    right += std::max_element(first, first + studies::digits::classes) - first == s.y[i];
  }
  return double(right) / double(s.count());
}

int train(comm::mpi& world) {
  const auto data =
      studies::digits::make_shift(studies::digits::read_digits(studies::digits::find_digits("")),
                                  studies::digits::shift::rotated);
  Be be;
  nn::mlp<Be> network(be, {studies::digits::pixels, 128, 128, studies::digits::classes}, 1);
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
