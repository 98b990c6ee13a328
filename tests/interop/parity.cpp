#include "parity.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <preheat/cpu/backend.hpp>
#include <preheat/methods.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using namespace preheat;
namespace fs = std::filesystem;

namespace {

// One case. Its tensors are matrices in the library's shapes.
class fixture {
 public:
  explicit fixture(const fs::path& path) : file_(path) {}

  bool contains(const std::string& name) const { return file_.contains(name); }
  template <backend Be>
  mat<Be> matrix(Be& be, const std::string& name) const {
    const auto& shape = file_.info(name).shape;
    mat<Be> M = be.zeros(index_t(shape[0]), index_t(shape[1]));
    be.upload(file_.column_major<scalar_of<Be>>(name), M);
    return M;
  }
  double number(const std::string& name) const { return file_.scalar(name); }

 private:
  safetensors::reader file_;
};

template <backend Be>
double largest_difference(Be& be, const_view_of<Be> ours, const mat<Be>& theirs) {
  mat<Be> d = clone<Be>(be, theirs);
  be.apply(linalg::axpby<scalar_of<Be>>{-1, 1}, d, ours);
  return double(be.max_abs(d)) / std::max(double(be.max_abs(theirs)), 1e-30);
}

// An adapter whose parameters were started somehow; those in the file are then PEFT's.
template <class Be, class Adapter>
void check(Be& be, const std::string& name, const fixture& file, const Adapter& adapter,
           typename Adapter::template params<Be> p, double s) {
  using T = scalar_of<Be>;
  const double bound = std::is_same_v<T, float> ? 1e-5 : 1e-11;
  double worst = 0;
  const auto compare = [&](const std::string& what, const_view_of<Be> ours) {
    const double difference = largest_difference<Be>(be, ours, file.matrix(be, what));
    worst = std::max(worst, difference);
    if (!(difference <= bound)) {
      throw std::runtime_error(name + ": " + what + " differs from PEFT's by " +
                               std::to_string(difference));
    }
  };
  for_each(
      [&](auto parameter, auto& x) {
        const std::string theirs = std::string("p.") + parameter.name;
        if (file.contains(theirs)) {
          mat<Be> value = file.matrix(be, theirs);
          require(x.rows() == value.rows() && x.cols() == value.cols(),
                  name + ": shape of " + theirs, x.rows(), value.rows());
          x = std::move(value);
        } else if (parameter.trained) {
          throw std::runtime_error(name + ": the file lacks " + theirs);
        }
      },
      p);
  mat<Be> W = file.matrix(be, "W");
  mat<Be> b = file.matrix(be, "b");
  const mat<Be> X = file.matrix(be, "X");
  const mat<Be> dY = file.matrix(be, "dY");
  const frozen_linear<Be> base{W, b, T(s)};
  mat<Be> Y = be.zeros(W.rows(), X.cols());
  mat<Be> dX = be.zeros(W.cols(), X.cols());
  typename Adapter::template params<Be> gradient = zeros_like(be, p);
  typename Adapter::template saved_activations<Be> saved;
  adapter.forward(be, p, base, layer_input<Be>{X, X}, view_of<Be>(Y), saved);
  compare("Y", Y);
  adapter.backward(be, p, base, layer_input<Be>{X, X}, const_view_of<Be>(dY), gradient,
                   input_gradient<Be>{dX, dX}, saved);
  compare("dX", dX);
  for_each_trained(
      [&](auto parameter, const auto& g) { compare(std::string("g.") + parameter.name, g); },
      gradient);
  merge_into(adapter, be, p, T(s), view_of<Be>(W), view_of<Be>(b));
  compare("W_merged", W);
  std::printf("ok  parity %s, %s: output, gradients and merged weight (%.1e)\n", name.c_str(),
              std::is_same_v<T, float> ? "float" : "double", worst);
}

template <class Be>
void check_case(const std::string& name, const fixture& file) {
  Be be;
  const mat<Be> W = file.matrix(be, "W");
  const frozen_linear<Be> base{W, {}, 1};
  const double s = file.number("s");
  const generator gen;
  const std::string method = name.substr(0, name.find('-'));
  const auto of_rank = [&](const auto& adapter, index_t rank) {
    check(be, name, file, adapter, adapter.start(be, base, rank, gen), s);
  };
  if (method == "miss") {
    const index_t rank = file.matrix(be, "p.B").cols();
    using adapter_type = adapter::asymmetric<parameter_role::B>;
    check(be, name, file, adapter_type{},
          adapter_type{}.start(be, base, init::shards{}(be, target_layer<Be>{.W = W, .rank = rank}),
                               gen),
          s);
  } else if (method == "hira") {
    of_rank(adapter::hira{}, file.matrix(be, "p.A").rows());
  } else if (method == "delora") {
    of_rank(adapter::delora{}, file.matrix(be, "p.A").rows());
  } else if (method == "gralora" || method == "gralora4") {
    of_rank(adapter::gralora{.blocks = method == "gralora" ? 2 : 4}, file.matrix(be, "p.A").rows());
  } else if (method == "loha") {
    of_rank(adapter::loha{}, file.matrix(be, "p.A1").rows());
  } else if (method == "lokr") {
    of_rank(adapter::lokr{}, file.matrix(be, "p.A").rows());
  } else if (method == "shira") {
    of_rank(adapter::shira{}, 2);
  } else if (method == "randlora") {
    using bases = adapter::randlora::shared<Be>;
    const adapter::randlora adapter{.scale = s};
    auto shared = std::make_shared<const bases>(
        bases{file.matrix(be, "shared.a"), file.matrix(be, "shared.V")});
    check(be, name, file, adapter, adapter.start(be, base, std::move(shared), gen), 1);
  } else if (method == "vera") {
    using pair = adapter::vera::shared<Be>;
    auto shared = std::make_shared<const pair>(
        pair{file.matrix(be, "shared.A"), file.matrix(be, "shared.B")});
    check(be, name, file, adapter::vera{}, adapter::vera{}.start(be, base, std::move(shared), gen),
          s);
  } else {
    throw std::runtime_error(name + ": no such method here");
  }
}

}  // namespace

int check_parity(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    const fixture file(path);
    check_case<cpu<double>>(path.stem().string(), file);
    check_case<cpu<float>>(path.stem().string(), file);
  }
  return int(paths.size());
}
