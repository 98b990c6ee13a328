// What every command does: layers on a few threads with progress, and the report at the end.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <preheat/peft/writer.hpp>

#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "factors.hpp"
#include "report.hpp"

namespace apps::adapter {

// The options that every command has.
struct common_options {
  std::filesystem::path out;
  std::optional<safetensors::dtype> stored;  // of what is written; empty: the input's
  int threads = 1;
  std::uint64_t seed = 0;
  bool dry_run = false;
  std::filesystem::path json;  // a report as JSON; empty: none
};

// Ctrl-C, or another polite request to stop.
struct interrupted : std::runtime_error {
  interrupted() : std::runtime_error("interrupted; nothing was written") {}
};

// job(i) for every layer, on `threads` threads: the library's products run on one thread each, so that
// there is one pool and not two. name(i) is shown beside the progress.
template <class Name, class Job>
void for_each_layer(int threads, std::size_t count, const Name& name, const Job& job) {
  use_one_blas_thread();
  console::progress_bar bar;
  bar.grow(count);
  const bool all = console::run_jobs(threads, count, [&](std::size_t i) {
    job(i);
    bar.advance(name(i));
  });
  if (!all) {
    throw interrupted();
  }
}

// Calls run(std::type_identity<T>) with the type to compute in: double if a factor is stored so,
// else float.
template <class Run>
void with_scalar(const std::vector<const peft::reader*>& adapters, const Run& run) {
  for (const peft::reader* a : adapters) {
    for (const peft::adapter_layer& l : a->layers()) {
      if (a->files().info(l.A).type == safetensors::dtype::F64 ||
          a->files().info(l.B).type == safetensors::dtype::F64) {
        run(std::type_identity<double>{});
        return;
      }
    }
  }
  run(std::type_identity<float>{});
}

// Prints as a command goes, and gathers the report.
class reporter {
 public:
  reporter(std::string command, const common_options& options)
      : command_(std::move(command)), options_(options) {}

  void line(const std::string& key, const std::string& text) {
    fmt::print("{:<6} {}\n", key, text);
    std::fflush(stdout);
    report_[key].push_back(text);
  }
  void read(const peft::reader& adapter) { line("read", describe(adapter)); }

  // The plan of a command that writes an adapter.
  void wrote(const peft::adapter_plan& plan) {
    std::set<double> ranks;
    std::set<double> scales;
    for (const peft::planned_layer& p : plan.layers) {
      ranks.insert(double(p.layer.rank));
      scales.insert(p.layer.scaling);
    }
    const bool root = plan.config && plan.config->rslora();
    line(options_.dry_run ? "would" : "wrote",
         fmt::format("{}{}: {} layers of rank {}, s = {} = {}, α = {}, {}",
                     options_.dry_run ? "write " : "", options_.out.string(), plan.layers.size(),
                     range_text(ranks), root ? "α/√r" : "α/r", range_text(scales),
                     plan.config ? range_text(alphas(plan)) : "in the file",
                     size_text(peft::bytes_of(plan))));
  }

  // The table, the JSON file, the time.
  void finish(const std::vector<layer_result>& results) {
    if (!results.empty()) {
      fmt::print("\n{}", results_table(results));
      report_["layers"] = as_json(results);
    }
    finish();
  }
  void finish() {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    fmt::print("{}done in {:.2f} s\n", options_.dry_run ? "nothing written; " : "", seconds);
    if (!options_.json.empty()) {
      report_["command"] = command_;
      report_["seconds"] = seconds;
      write_json(options_.json, report_);
    }
  }
  nlohmann::ordered_json& json() { return report_; }

 private:
  static std::set<double> alphas(const peft::adapter_plan& plan) {
    std::set<double> all;
    for (const peft::planned_layer& p : plan.layers) {
      all.insert(plan.config->alpha(p.layer.module));
    }
    return all;
  }

  std::string command_;
  const common_options& options_;
  nlohmann::ordered_json report_ = nlohmann::ordered_json::object();
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

}  // namespace apps::adapter
