// What the tests of peft::save and peft::load share.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <preheat/peft/load.hpp>
#include <preheat/peft/save.hpp>
#include <preheat/train/fit.hpp>
#include <string>

#include "support/backends.hpp"
#include "support/scratch.hpp"
#include "support/toy_task.hpp"

namespace conformance {

namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;
using scratch::temporary_directory;

inline nlohmann::json config_of(const std::filesystem::path& folder) {
  return nlohmann::json::parse(scratch::read_file(folder / "adapter_config.json"));
}

// What a function threw, or "nothing".
template <class F>
std::string refusal(F f) {
  try {
    f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}
inline bool says(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

// A toy task after some steps of a method, and its twin whose network never moved.
template <class Method, preheat::backend Be>
struct trained_task {
  toy_task<Be> task;
  toy_task<Be> original;
  preheat::fit_report<Be, typename Method::adapter_type> report;
  table output;  // with the adapter

  explicit trained_task(Method m, const preheat::fit_options& options = {.rank = 2, .steps = 6}) {
    preheat::learning_rate(m.optim) = 0.02;
    report = preheat::fit(m, task.net, task.data, options);
    output = task.adapted_output(report);
    CHECK(gap(output, original.base_output()) > 0.01);
  }

  // The output of the untouched network with the folder's adapter.
  template <class Adapter>
  table loaded_output(const std::filesystem::path& folder) {
    const auto loaded = peft::load<Adapter>(folder, original.net);
    REQUIRE(loaded.layers.size() == report.layers.size());
    for (std::size_t i = 0; i < loaded.layers.size(); ++i) {
      CHECK(loaded.layers[i].index == report.layers[i].index);
      CHECK(loaded.layers[i].name == report.layers[i].name);
      CHECK(loaded.layers[i].scaling == doctest::Approx(report.layers[i].scaling).epsilon(1e-15));
      CHECK(loaded.layers[i].rank == report.layers[i].rank);
    }
    return original.adapted_output(loaded);
  }
};

}  // namespace conformance
