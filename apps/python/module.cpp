// preheat._preheat: tensors in and out without a copy, and the commands of preheat-adapter by their arguments. The lock of
// the interpreter is given back while the library works.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>

#include <preheat/version.hpp>

#include "apps/adapter/command_line.hpp"
#include "apps/adapter/outputs.hpp"
#include "apps/adapter/report.hpp"
#include "layers.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace apps::python;

namespace {

using tensor = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using changed_tensor = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using new_tensor = nb::ndarray<nb::pytorch, float, nb::ndim<2>, nb::c_contig>;

// Rows of the tensor are columns of the view.
view<const float> as_view(const tensor& t) {
  return {t.data(), index_t(t.shape(1)), index_t(t.shape(0))};
}
view<float> as_view(const changed_tensor& t) {
  return {t.data(), index_t(t.shape(1)), index_t(t.shape(0))};
}

// A matrix without gaps becomes a tensor that owns it; one with gaps between its columns is copied once.
nb::object as_tensor(preheat::cpu_matrix<float> M) {
  const std::size_t rows = std::size_t(M.cols());
  const std::size_t columns = std::size_t(M.rows());
  const std::int64_t stride = M.ld();
  auto kept = std::make_unique<preheat::cpu_matrix<float>>(std::move(M));
  float* const data = kept->data();
  const nb::capsule owner(
      kept.release(), [](void* p) noexcept { delete static_cast<preheat::cpu_matrix<float>*>(p); });
  return nb::cast(
      nb::ndarray<nb::pytorch, float, nb::ndim<2>>(data, {rows, columns}, owner, {stride, 1}));
}

std::vector<factors_in_memory> factors_of(const std::vector<std::pair<tensor, tensor>>& layers) {
  std::vector<factors_in_memory> views;
  for (const auto& [A, B] : layers) {
    apps::adapter::refuse_if(A.shape(0) != B.shape(1),
                             "layer " + std::to_string(views.size()) + ": A has " +
                                 std::to_string(A.shape(0)) + " rows and B " +
                                 std::to_string(B.shape(1)) + " columns; both are the rank");
    views.push_back({as_view(A), as_view(B)});
  }
  return views;
}

// (A, B, singular values, kept energy) of every layer.
nb::list as_list(std::vector<layer_factors> layers) {
  nb::list list;
  for (layer_factors& l : layers) {
    list.append(nb::make_tuple(as_tensor(std::move(l.f.At)), as_tensor(std::move(l.f.Bt)), l.sigma,
                               l.energy));
  }
  return list;
}

// Runs a command of preheat-adapter; what it would print.
std::string command(const std::vector<std::string>& arguments) {
  CLI::App app("", "preheat");
  app.require_subcommand(1);
  std::function<void()> run;
  std::vector<std::filesystem::path> targets;
  apps::adapter::describe_commands(app, run, targets);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    throw preheat::invalid_argument(error.what());
  }
  std::string text;
  struct redirection {
    explicit redirection(std::string& to) { apps::adapter::said = &to; }
    ~redirection() { apps::adapter::said = nullptr; }
  } redirected(text);
  run();
  return text;
}

}  // namespace

NB_MODULE(_preheat, m) {
  m.attr("__version__") = preheat::version();
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const preheat::io_error& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    } catch (const preheat::library_error& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
  m.def("command", &command, "arguments"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "hrp",
      [](const std::vector<std::pair<tensor, tensor>>& layers, const std::vector<index_t>& ranks,
         bool left, double row_norm, std::uint64_t seed, int threads) {
        const auto views = factors_of(layers);
        std::vector<layer_factors> results;
        {
          nb::gil_scoped_release released;
          results = hrp(views, ranks, left, row_norm, {threads, seed});
        }
        return as_list(std::move(results));
      },
      "layers"_a, "ranks"_a, "left"_a, "row_norm"_a, "seed"_a, "threads"_a);
  m.def(
      "reduce",
      [](const std::vector<std::pair<tensor, tensor>>& layers, const std::vector<double>& scalings,
         index_t rank, double energy, double ratio, std::uint64_t seed, int threads) {
        const auto views = factors_of(layers);
        std::vector<layer_factors> results;
        {
          nb::gil_scoped_release released;
          results = reduce(views, scalings, {rank, energy, ratio}, {threads, seed});
        }
        return as_list(std::move(results));
      },
      "layers"_a, "scalings"_a, "rank"_a, "energy"_a, "ratio"_a, "seed"_a, "threads"_a);
  m.def(
      "start",
      [](const std::string& kind, const std::vector<changed_tensor>& weights,
         const std::vector<tensor>& gradients, const std::vector<index_t>& ranks,
         const std::vector<double>& scalings, std::uint64_t seed, int threads) {
        std::vector<weight_site> sites;
        for (std::size_t i = 0; i < weights.size(); ++i) {
          weight_site site{as_view(weights[i]), {}, ranks.at(i), scalings.at(i)};
          if (!gradients.empty()) {
            site.gradient_t = as_view(gradients.at(i));
          }
          sites.push_back(site);
        }
        std::vector<layer_factors> results;
        {
          nb::gil_scoped_release released;
          results = start(kind, sites, {threads, seed});
        }
        return as_list(std::move(results));
      },
      "kind"_a, "weights"_a, "gradients"_a, "ranks"_a, "scalings"_a, "seed"_a, "threads"_a);
}
