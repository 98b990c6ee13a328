// A small classifier and its data, on any backend, for the laws of training.
#pragma once
#include <preheat/nn/least_squares.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>
#include <vector>

namespace conformance {

using namespace preheat;

// 7 features, 3 classes, 40 tokens.
template <class Be>
struct problem {
  Be be{};
  nn::mlp<Be> net{be, {7, 11, 9, 3}, 5};
  mat<Be> X = linalg::normal(be, 7, 40, 1, generator(1));
  mat<Be> labels = make_labels(be);
  nn::minibatches<Be> batches{be, clone<Be>(be, X), clone<Be>(be, labels), 8};
  nn::labelled_batch<Be> all{clone<Be>(be, X), clone<Be>(be, labels)};

  static mat<Be> make_labels(Be& be) {
    std::vector<scalar_of<Be>> host(40);
    for (std::size_t i = 0; i < host.size(); ++i) {
      host[i] = scalar_of<Be>(i * i % 3);
    }
    mat<Be> y = be.zeros(1, 40);
    be.upload(host, y);
    return y;
  }
  std::vector<std::vector<scalar_of<Be>>> weights() {
    std::vector<std::vector<scalar_of<Be>>> w;
    for (auto& l : net.layers()) {
      w.push_back(be.download(l.W));
    }
    return w;
  }
  double base_loss() {
    base_operator<Be> base(net);
    return double(net.loss(all, base));
  }
};

template <class Be, class Report>
double loss_with(problem<Be>& p, const Report& report) {
  auto linear = attach(p.net, report);
  return double(p.net.loss(p.all, linear));
}

}  // namespace conformance
